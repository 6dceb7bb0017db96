"""HTTP/2 server over TLS that follows the script of a test, frame by frame, valid or invalid.

    async def script(peer: Peer) -> None:
        request = await peer.request()
        peer.answer(request, 410, b'{"reason": "Unregistered"}')

    async with ScriptedServer(script, tls) as server: ...

A script runs once per connection, after the client's preface. When it returns, the connection is read until the client
closes it. Frames of a script are written at once. SETTINGS and PING are answered automatically.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from hpack import Decoder, Encoder
from hyperframe import frame as hf

from relay.apns.frames import PREFACE


@dataclass(frozen=True)
class Tls:
    """A server context for localhost, and the file with its authority."""

    context: ssl.SSLContext
    ca_file: str

    @classmethod
    def make(cls, folder: Path, alpn: tuple[str, ...] = ("h2",)) -> Tls:
        ca = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        path = folder / "ca.pem"
        ca.cert_pem.write_to_path(str(path))
        return cls(context, str(path))


@dataclass
class Request:
    stream_id: int
    headers: dict[str, str]
    body: bytes = b""
    ended: bool = False

    @property
    def token(self) -> str:
        return self.headers[":path"].rpartition("/")[2]


@dataclass
class Peer:
    """The client of a connection, from the server's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    settings: dict[int, int] = field(default_factory=lambda: {3: 1_000})
    requests: dict[int, Request] = field(default_factory=dict)
    pings: list[bytes] = field(default_factory=list)
    resets: dict[int, int] = field(default_factory=dict)
    windows: dict[int, int] = field(default_factory=dict)
    goaway: int | None = None
    answer_pings: bool = True
    give_windows: bool = True
    greeted: bool = False
    ack_due: bool = False
    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)
    arrived: list[float] = field(default_factory=list)
    _ready: asyncio.Queue[Request] = field(default_factory=asyncio.Queue)
    _heads: asyncio.Queue[Request] = field(default_factory=asyncio.Queue)

    # Frames to the client.

    def raw(self, octets: bytes) -> None:
        self.writer.write(octets)

    def send(self, frame: hf.Frame) -> None:
        self.raw(frame.serialize())

    def set(self, settings: dict[int, int]) -> None:
        self.send(hf.SettingsFrame(0, settings=settings))
        if self.ack_due and not self.greeted:
            self.send(hf.SettingsFrame(0, flags=["ACK"]))
        self.greeted = True

    def block(self, headers: list[tuple[str, str]]) -> bytes:
        return bytes(self.encoder.encode(headers))

    def headers(self, request: Request | int, headers: list[tuple[str, str]], *, end: bool = False) -> None:
        stream_id = request if isinstance(request, int) else request.stream_id
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        self.send(hf.HeadersFrame(stream_id, self.block(headers), flags=flags))

    def data(self, request: Request | int, body: bytes, *, end: bool = True) -> None:
        stream_id = request if isinstance(request, int) else request.stream_id
        self.send(hf.DataFrame(stream_id, body, flags=["END_STREAM"] if end else []))

    def answer(
        self, request: Request, status: int = 200, body: bytes = b"", *, apns_id: str | None = None
    ) -> None:
        """Send an answer like Apple's. `apns_id` None echoes the request's, "" leaves the header out."""
        echoed = request.headers.get("apns-id", "") if apns_id is None else apns_id
        headers = [(":status", str(status))]
        if echoed:
            headers.append(("apns-id", echoed))
        self.headers(request, headers, end=not body)
        if body:
            self.data(request, body)

    def reset(self, request: Request, code: int) -> None:
        self.send(hf.RstStreamFrame(request.stream_id, error_code=code))

    def go_away(self, last: int, code: int = 0, debug: bytes = b"") -> None:
        self.send(hf.GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=debug))

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()

    # Frames of the client.

    async def request(self) -> Request:
        """Return the next request whose body is complete."""
        return await self._ready.get()

    async def head(self) -> Request:
        """Return the next request whose header block is complete."""
        return await self._heads.get()

    async def pause(self, seconds: float) -> None:
        """Play a slow server for `seconds`. SETTINGS and PING are still answered."""
        await asyncio.sleep(seconds)

    async def serve(self, status: int = 200, body: bytes = b"") -> None:
        """Answer every request, without end."""
        while True:
            self.answer(await self.request(), status, body)

    async def listen(self) -> None:
        """Read frames until the client closes."""
        try:
            assert await self.reader.readexactly(len(PREFACE)) == PREFACE
            while True:
                head = await self.reader.readexactly(9)
                frame, length = hf.Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self.reader.readexactly(length)))
                self._hear(frame)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass

    def _hear(self, frame: hf.Frame) -> None:
        if isinstance(frame, hf.SettingsFrame):
            if "ACK" not in frame.flags:
                self.encoder.header_table_size = frame.settings.get(1, 4_096)
                self.ack_due = True
                if self.greeted:
                    self.send(hf.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, hf.PingFrame):
            if "ACK" not in frame.flags:
                self.pings.append(frame.opaque_data)
                if self.answer_pings:
                    self.send(hf.PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, hf.HeadersFrame):
            headers = {str(n): str(v) for n, v in self.decoder.decode(frame.data)}
            request = self.requests[frame.stream_id] = Request(frame.stream_id, headers)
            self.arrived.append(asyncio.get_running_loop().time())
            self._heads.put_nowait(request)
            self._end(request, frame)
        elif isinstance(frame, hf.DataFrame):
            request = self.requests[frame.stream_id]
            request.body += frame.data
            if frame.data and self.give_windows:
                self.send(hf.WindowUpdateFrame(0, window_increment=len(frame.data)))
            self._end(request, frame)
        elif isinstance(frame, hf.RstStreamFrame):
            self.resets[frame.stream_id] = frame.error_code
        elif isinstance(frame, hf.WindowUpdateFrame):
            self.windows[frame.stream_id] = self.windows.get(frame.stream_id, 0) + frame.window_increment
        elif isinstance(frame, hf.GoAwayFrame):
            self.goaway = frame.error_code

    def _end(self, request: Request, frame: hf.Frame) -> None:
        if "END_STREAM" in frame.flags:
            request.ended = True
            self._ready.put_nowait(request)


Script = Callable[[Peer], Awaitable[None]]


async def hang(peer: Peer) -> None:
    """Script of a server that answers no request."""
    await asyncio.Event().wait()


class ScriptedServer:
    """A server on localhost. `greeting` is its first SETTINGS; with `silent` it sends none."""

    def __init__(self, script: Script, tls: Tls, greeting: dict[int, int] | None = None) -> None:
        self.script = script
        self.tls = tls
        self.greeting: dict[int, int] | None = {3: 1_000} if greeting is None else greeting
        self.silent = False
        self.peers: list[Peer] = []
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def requests(self) -> list[Request]:
        """All requests of all connections."""
        return [request for peer in self.peers for request in peer.requests.values()]

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._accept, "localhost", 0, ssl=self.tls.context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failures:
            raise self.failures[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        if not self.silent:
            peer.set(self.greeting or {})
        script = asyncio.get_running_loop().create_task(self._play(peer))
        try:
            await peer.listen()
        except Exception as error:
            self.failures.append(error)
        finally:
            script.cancel()
            await asyncio.gather(script, return_exceptions=True)
            writer.close()

    async def _play(self, peer: Peer) -> None:
        try:
            await self.script(peer)
        except ConnectionError:
            pass
        except Exception as error:
            self.failures.append(error)
