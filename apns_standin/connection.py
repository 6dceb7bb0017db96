"""HTTP/2 connection of a provider: h2 implements the protocol, this class moves bytes, streams and replies.

The memory a client can take is bounded: streams by the announced limit, a body by the largest payload, unsent answers
by a pause in reading while the client does not read.

The methods at the end (`goaway`, `limit_streams`, `abort`, …) carry out the faults of a connection; `disturbances`
decides which of them a reply needs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

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
from .push_types import MAX_PAYLOAD_BYTES
from .replies import Reply
from .statistics import Statistics
from .streams import Stream

_log = logging.getLogger(__name__)

BODY_CUT_OFF_BYTES: Final = 64 * 1024
"""A longer body is not read to its end: the answer is sent at once, and the stream reset."""
CONNECTION_WINDOW_BYTES: Final = 4 * 1024 * 1024
"""Room for the usual payloads of a thousand streams before they are read."""
_STREAMS_PER_SWEEP: Final = 512
"""New streams between two removals of h2's closed streams."""
_MAX_ANSWERS_AT_RISK: Final = 1000
"""Answers that a connection may have in transit, and lose when it is reset."""
_LINGER_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with 0 seconds: closing the socket resets the connection."""


class ConnectionHost(Protocol):
    """The part of a listener that its connections use."""

    limits: StandInLimits
    statistics: Statistics

    @property
    def max_streams(self) -> int:
        """Concurrent streams that a connection may have after its first accepted push."""

    def register_connection(self, connection: ProviderConnection) -> bool:
        """Register a new connection. Returns False if there are too many."""

    def unregister_connection(self, connection: ProviderConnection) -> None:
        """Remove a closed connection."""

    def reply(self, request: Request, peer: Peer) -> Reply:
        """Return the reply to a complete request."""


class ProviderConnection(asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, host: ConnectionHost) -> None:
        self.peer = Peer()
        self.last_decided = 0
        """The highest stream whose reply was decided."""
        self._host = host
        self._statistics = host.statistics
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._stream_limit = min(host.limits.initial_streams, host.max_streams)
        self._h2 = server_connection(self._stream_limit)
        self._streams: dict[int, Stream] = {}
        self._streams_begun = 0
        self._resets_received = 0
        self._last_stream_id: int | None = None  # set by GOAWAY
        self._accepted = 0
        self._silent = False
        self._last_data_at = self._loop.time()
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

    # -- asyncio.Protocol --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection, read the client certificate, and send SETTINGS."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._host.register_connection(self):
            self._transport.abort()
            return
        tls = transport.get_extra_info("ssl_object")
        if isinstance(tls, (ssl.SSLObject, ssl.SSLSocket)):
            certificate = tls.getpeercert(binary_form=True)
            if certificate:
                self.peer.certificate = read_client_certificate(certificate)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Give the bytes to h2, handle its events, and send the result in one write."""
        self._last_data_at = self._loop.time()
        try:
            events = self._h2.receive_data(data)
            for event in events:
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event)
        except H2Error as error:
            # h2 has prepared a GOAWAY with the error code.
            _log.info("a client broke the protocol: %s", type(error).__name__)
            self._statistics.protocol_errors += 1
            self._close()
        except Exception as error:
            # No traceback: it would show headers.
            _log.error("connection dropped: %s", type(error).__name__)
            self.abort()
        else:
            self._flush()
            self._close_if_done()

    def eof_received(self) -> bool:
        """Return False, so that the transport closes."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Drop all streams and unregister the connection."""
        for stream_id in list(self._streams):
            self._drop(stream_id)
        self._host.unregister_connection(self)

    def pause_writing(self) -> None:
        """Stop reading requests: the client does not read its answers."""
        self._paused_since = self._loop.time()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read requests again."""
        self._paused_since = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- requests --

    def _on_request(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        self._statistics.streams += 1
        self._streams_begun += 1
        if self._streams_begun % _STREAMS_PER_SWEEP == 0:
            self._h2.sweep()
        going_away = self._last_stream_id is not None and stream_id > self._last_stream_id
        if going_away or len(self._streams) >= self._stream_limit:
            self._statistics.refused += 1
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._streams[stream_id] = Stream(event.headers, self._last_data_at)
        self._statistics.open_streams += 1

    def _on_data(self, event: DataReceived) -> None:
        # Unused bytes too give their window back, or the connection would run out of window.
        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.answered:
            return
        data = event.data or b""
        if stream.size <= MAX_PAYLOAD_BYTES:
            stream.body = stream.body + data if stream.body else data
            # One byte more than allowed is stored, the rest only counted.
            if len(stream.body) > MAX_PAYLOAD_BYTES:
                stream.body = stream.body[: MAX_PAYLOAD_BYTES + 1]
        stream.size += len(data)
        if stream.size > BODY_CUT_OFF_BYTES and event.stream_ended is None:
            self._answer_request(event.stream_id, stream)

    def _on_end(self, event: StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None and not stream.answered:
            self._answer_request(event.stream_id, stream)

    def _on_reset(self, event: StreamReset) -> None:
        self._statistics.resets += 1
        if event.stream_id in self._streams:
            self._drop(event.stream_id)
        self._resets_received += 1
        if self._resets_received * 2 - self._streams_begun > self._host.limits.max_resets:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._close()

    # -- answers --

    def _answer_request(self, stream_id: int, stream: Stream) -> None:
        if self._silent or self._transport is None or self._transport.is_closing():
            return  # the answer cannot be sent, so the push is not received
        stream.answered = True
        reply = self._host.reply(read_request(stream.headers, stream.body, stream.size), self.peer)
        stream.headers, stream.body = [], b""
        if reply.connection:
            disturb(self, stream_id, reply)
            if reply.connection != "goaway":
                return
        self.last_decided = max(self.last_decided, stream_id)
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
            self._close()  # the client has closed meanwhile
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
                return  # `_on_window` continues
            room = min(room, stream.frame_bytes or room)
            part, stream.unsent = stream.unsent[:room], stream.unsent[room:]
            self._h2.send_data(stream_id, part, end_stream=not stream.unsent)
        self._drop(stream_id)
        if stream.reset_after is not None:
            # Not through h2: for h2 the stream has ended.
            self._flush()
            self._write(RstStreamFrame(stream_id, error_code=stream.reset_after).serialize())
        if stream.size > BODY_CUT_OFF_BYTES:
            # The answer comes before the end of the request (RFC 9113, 8.1).
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
        # The client closes once it has its answers, and begins no new streams.
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
        """End requests and connections that take too long; `now` is the event loop's time in seconds."""
        limits = self._host.limits
        stalled = self._paused_since is not None and now - self._paused_since > limits.request_seconds
        if stalled:
            self.abort()
            return
        if not self._streams and now - self._last_data_at > limits.idle_seconds:
            self.goaway(reason="IdleTimeout")
            return
        for stream_id, stream in list(self._streams.items()):
            stuck = not stream.answered or stream.unsent
            if stuck and now - stream.started > limits.request_seconds:
                self._drop(stream_id)
                self._statistics.resets += 1
                self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._flush()

    # -- actions of the listener and of faults --

    @property
    def open_streams(self) -> int:
        """Number of requests without a complete answer."""
        return len(self._streams)

    def goaway(
        self, error_code: int = 0, *, last_stream_id: int | None = None, reason: str | None = None
    ) -> None:
        """Send GOAWAY, answer streams up to `last_stream_id` (None: all begun so far), then close.

        `reason` is sent as JSON in the debug data, as Apple does.
        """
        # Not through h2: after its own GOAWAY h2 sends no answers.
        last = self._h2.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self._last_stream_id = last
        debug_data = b"" if reason is None else msgspec.json.encode({"reason": reason})
        frame = GoAwayFrame(0, last_stream_id=last, error_code=error_code, additional_data=debug_data)
        self._flush()
        self._write(frame.serialize())
        self._close_if_done()

    def limit_streams(self, most: int) -> None:
        """Announce a new limit of concurrent streams, which applies at once."""
        self._announce_streams(most)
        self._flush()

    def reset(self) -> None:
        """Reset the TCP connection. Answers in transit may be lost."""
        self._count_answers_at_risk()
        self._flush()
        if self._transport is not None:
            raw_socket = self._transport.get_extra_info("socket")
            if raw_socket is not None:
                raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.abort()

    def stall(self) -> None:
        """Keep reading, and send nothing any more."""
        self._count_answers_at_risk()
        self._flush()
        self._silent = True

    def _announce_streams(self, most: int) -> None:
        self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self._stream_limit = most

    @property
    def leaving(self) -> bool:
        """True once a GOAWAY was sent or received."""
        return self._last_stream_id is not None

    def refuse(self, stream_id: int) -> None:
        """Send RST_STREAM REFUSED_STREAM: the request was not processed."""
        self._drop(stream_id)
        self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)

    def leave_above(self, last_stream_id: int) -> None:
        """Send GOAWAY; drop the streams above `last_stream_id`, which are not processed."""
        for above in [number for number in self._streams if number > last_stream_id]:
            self._drop(above)
        self.goaway(last_stream_id=last_stream_id, reason="Shutdown")

    def _count_answers_at_risk(self) -> None:
        self._statistics.answers_at_risk += min(self._accepted, _MAX_ANSWERS_AT_RISK)

    def abort(self) -> None:
        """Abort the TCP connection without GOAWAY."""
        if self._transport is not None:
            self._transport.abort()
