"""One HTTP/2 connection of a provider: h2 speaks the protocol, this class moves bytes, streams and replies.

What a client can make us hold is bounded: streams by the announced limit, a body by the largest payload,
unsent answers by pausing to read while the client does not.

The verbs at the end (`goaway`, `limit_streams`, `abort`, …) are where connection-level faults take hold; which of
them a reply asks for is decided in `disturbances`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, RstStreamFrame

from .certificates import read_client_certificate
from .checks import Peer, Request
from .disturbances import disturb
from .http2 import read_request, server_connection
from .limits import StandInLimits
from .push_types import LARGEST_PAYLOAD
from .replies import Reply
from .statistics import Statistics
from .streams import Stream

_log = logging.getLogger(__name__)

# Beyond this a body is not read to its end: the answer is given at once, and the stream reset.
BODY_CUT_OFF = 64 * 1024
# Closed streams are swept out of h2 at every so many new ones.
_SWEEP_STREAMS = 512
# What a thousand streams of the usual payload need before we get round to reading them.
CONNECTION_WINDOW = 4 * 1024 * 1024
# Answers that may be on their way at once: so many a connection that is cut off can take with it.
_ON_THE_WAY = 1000
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Host(Protocol):
    """What a connection needs of its listener."""

    limits: StandInLimits
    statistics: Statistics

    @property
    def max_streams(self) -> int:
        """Concurrent streams after the first accepted push, now."""

    def opened(self, connection: ProviderConnection) -> bool:
        """Admit a connection; False when there are too many."""

    def closed(self, connection: ProviderConnection) -> None:
        """The connection is gone."""

    def reply(self, request: Request, peer: Peer) -> Reply:
        """The reply to a complete request."""


class ProviderConnection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, host: Host) -> None:
        self.peer = Peer()
        self.last_judged = 0
        """The highest stream that was judged."""
        self._host = host
        self._statistics = host.statistics
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._stream_limit = min(host.limits.initial_streams, host.max_streams)
        self._h2 = server_connection(self._stream_limit)
        self._streams: dict[int, Stream] = {}
        self._begun = 0
        self._broken_off = 0
        self._last_stream_id: int | None = None  # set by goaway
        self._accepted = 0
        self._silent = False
        self._last_heard = self._loop.time()
        self._paused_since: float | None = None
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            RequestReceived: self._on_request,
            DataReceived: self._on_data,
            StreamEnded: self._on_end,
            StreamReset: self._on_reset,
            WindowUpdated: self._on_window,
            RemoteSettingsChanged: self._on_window,
            ConnectionTerminated: self._on_terminated,
        }

    # -- the transport's side --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is up: admit, look at the client certificate, send our SETTINGS."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._host.opened(self):
            self._transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if isinstance(tls, (ssl.SSLObject, ssl.SSLSocket)):
            certificate = tls.getpeercert(binary_form=True)
            if certificate:
                self.peer.certificate = read_client_certificate(certificate)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Feed h2, act on what it understood, send what came of it in one write."""
        self._last_heard = self._loop.time()
        try:
            events = self._h2.receive_data(data)
            for event in events:
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event)
        except H2Error as error:
            # h2 has a GOAWAY with the error code ready.
            _log.info("a client broke the protocol: %s", type(error).__name__)
            self._statistics.protocol_errors += 1
            self._close()
        except Exception as error:
            # Never the traceback: it shows headers.
            _log.error("connection dropped: %s", type(error).__name__)
            self.abort()
        else:
            self._flush()
            self._close_if_done()

    def eof_received(self) -> bool:
        """The client is done; so are we."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Forget everything about the connection."""
        for stream_id in list(self._streams):
            self._drop(stream_id)
        self._host.closed(self)

    def pause_writing(self) -> None:
        """The client does not read its answers: stop taking requests."""
        self._paused_since = self._loop.time()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client caught up."""
        self._paused_since = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- requests --

    def _on_request(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        self._statistics.streams += 1
        self._begun += 1
        if self._begun % _SWEEP_STREAMS == 0:
            self._h2.sweep()
        going_away = self._last_stream_id is not None and stream_id > self._last_stream_id
        if going_away or len(self._streams) >= self._stream_limit:
            self._statistics.refused += 1
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._streams[stream_id] = Stream(event.headers, self._last_heard)
        self._statistics.open_streams += 1

    def _on_data(self, event: DataReceived) -> None:
        # Give the window back even where the bytes are not wanted, or the whole connection starves.
        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.answered:
            return
        data = event.data or b""
        if stream.size <= LARGEST_PAYLOAD:
            stream.body = stream.body + data if stream.body else data
            # One byte more than allowed is kept, the rest only counted.
            if len(stream.body) > LARGEST_PAYLOAD:
                stream.body = stream.body[: LARGEST_PAYLOAD + 1]
        stream.size += len(data)
        if stream.size > BODY_CUT_OFF and event.stream_ended is None:
            self._answer_request(event.stream_id, stream)

    def _on_end(self, event: StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None and not stream.answered:
            self._answer_request(event.stream_id, stream)

    def _on_reset(self, event: StreamReset) -> None:
        self._statistics.resets += 1
        if event.stream_id in self._streams:
            self._drop(event.stream_id)
        self._broken_off += 1
        if self._broken_off * 2 - self._begun > self._host.limits.max_resets:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close()

    # -- answers --

    def _answer_request(self, stream_id: int, stream: Stream) -> None:
        if self._silent or self._transport is None or self._transport.is_closing():
            return  # nobody would get the answer: nothing is received
        stream.answered = True
        reply = self._host.reply(read_request(stream.headers, stream.body, stream.size), self.peer)
        stream.headers, stream.body = [], b""
        if reply.connection:
            disturb(self, stream_id, reply)
            if reply.connection != "goaway":
                return
        self.last_judged = max(self.last_judged, stream_id)
        if reply.status == 200:
            self._accepted += 1
            if self._stream_limit < self._host.max_streams:
                self._announce_streams(self._host.max_streams)
        if reply.delay > 0:
            stream.timer = self._loop.call_later(reply.delay, self._answer_late, stream_id, reply)
        else:
            self._answer(stream_id, stream, reply)

    def _answer_late(self, stream_id: int, reply: Reply) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            self._answer(stream_id, stream, reply)
        except H2Error:
            self._close()  # the client said goodbye meanwhile
            return
        self._flush()
        self._close_if_done()

    def _answer(self, stream_id: int, stream: Stream, reply: Reply) -> None:
        if reply.reset is not None:
            self._statistics.resets += 1
            self._drop(stream_id)
            self._h2.reset_stream(stream_id, reply.reset)
            return
        headers = [(b":status", b"%d" % reply.status), *reply.headers]
        self._h2.send_headers(stream_id, headers, end_stream=not reply.body)
        stream.unsent, stream.started = reply.body, self._loop.time()
        stream.frame_bytes, stream.reset_after = reply.frame_bytes, reply.reset_after
        self._send_body(stream_id, stream)

    def _send_body(self, stream_id: int, stream: Stream) -> None:
        while stream.unsent:
            room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
            if room <= 0:
                return  # WINDOW_UPDATE brings us back
            room = min(room, stream.frame_bytes or room)
            part, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            self._h2.send_data(stream_id, part, end_stream=not stream.unsent)
        self._drop(stream_id)
        if stream.reset_after is not None:
            # Not through h2: the stream has ended for it.
            self._flush()
            self._write(RstStreamFrame(stream_id, error_code=stream.reset_after).serialize())
        if stream.size > BODY_CUT_OFF:
            # Answered before the request's end: RFC 9113 section 8.1 asks for this.
            open_stream = self._h2.streams.get(stream_id)
            if open_stream is not None and not open_stream.closed:
                self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)

    def _on_window(self, _: WindowUpdated | RemoteSettingsChanged) -> None:
        for stream_id, stream in [item for item in self._streams.items() if item[1].unsent]:
            self._send_body(stream_id, stream)

    def _drop(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id)
        self._statistics.open_streams -= 1
        if stream.timer is not None:
            stream.timer.cancel()

    # -- the end --

    def _on_terminated(self, _: ConnectionTerminated) -> None:
        # The client goes once it has its answers; new streams it will not begin.
        self._last_stream_id = self._h2.highest_inbound_stream_id

    def _flush(self) -> None:
        self._write(self._h2.data_to_send())

    def _write(self, data: bytes) -> None:
        if data and not self._silent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close_if_done(self) -> None:
        if self._last_stream_id is not None and not self._streams:
            self._close()

    def _close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Get rid of what takes too long; `now` is the event loop's time. Called every few seconds."""
        limits = self._host.limits
        stalled = self._paused_since is not None and now - self._paused_since > limits.request_seconds
        if stalled:
            self.abort()
            return
        if not self._streams and now - self._last_heard > limits.idle_seconds:
            self.goaway(reason="IdleTimeout")
            return
        for stream_id, stream in list(self._streams.items()):
            stuck = not stream.answered or stream.unsent
            if stuck and now - stream.started > limits.request_seconds:
                self._drop(stream_id)
                self._statistics.resets += 1
                self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._flush()

    # -- what a listener, or a fault, does to a connection --

    @property
    def open_streams(self) -> int:
        """Requests not yet answered in full."""
        return len(self._streams)

    def goaway(
        self, error_code: int = 0, *, last_stream_id: int | None = None, reason: str | None = None
    ) -> None:
        """Send GOAWAY; streams up to `last_stream_id` (all begun so far) are still answered, then we close.

        `reason` goes as JSON into the debug data, as Apple does it.
        """
        # Not through h2: after its own GOAWAY it lets no answer out.
        last = self._h2.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self._last_stream_id = last
        debug_data = b"" if reason is None else msgspec.json.encode({"reason": reason})
        frame = GoAwayFrame(0, last_stream_id=last, error_code=error_code, additional_data=debug_data)
        self._flush()
        self._write(frame.serialize())
        self._close_if_done()

    def limit_streams(self, most: int) -> None:
        """Announce another limit of concurrent streams. A higher one holds at once, a lower one too."""
        self._announce_streams(most)
        self._flush()

    def reset(self) -> None:
        """Reset the TCP connection. What was answered a moment ago may be lost with it."""
        self._note_risk()
        self._flush()
        if self._transport is not None:
            found = self._transport.get_extra_info("socket")
            if found is not None:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        self.abort()

    def stall(self) -> None:
        """Go on reading, and say nothing any more."""
        self._note_risk()
        self._flush()
        self._silent = True

    def _announce_streams(self, most: int) -> None:
        self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self._stream_limit = most

    @property
    def leaving(self) -> bool:
        """Whether a GOAWAY was sent or received."""
        return self._last_stream_id is not None

    def refuse(self, stream_id: int) -> None:
        """RST_STREAM that says: not processed."""
        self._drop(stream_id)
        self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)

    def leave_above(self, last_stream_id: int) -> None:
        """GOAWAY, without a word about the streams above that one: they are not processed."""
        for above in [number for number in self._streams if number > last_stream_id]:
            self._drop(above)
        self.goaway(last_stream_id=last_stream_id, reason="Shutdown")

    def _note_risk(self) -> None:
        self._statistics.answers_at_risk += min(self._accepted, _ON_THE_WAY)

    def abort(self) -> None:
        """Drop the TCP connection without a word."""
        if self._transport is not None:
            self._transport.abort()
