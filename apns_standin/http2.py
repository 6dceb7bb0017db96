"""Settings of h2 for a server with many short streams, and the conversion of its headers into a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes, Settings

from .checks import Request

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_HEADER_LIST_BYTES: Final = 16384
FRAME_HEADER_BYTES: Final = 9


class ServerConnection(H2Connection):
    """h2 with three changes.

    - h2 iterates over all streams to count them at each new stream. `ProviderConnection` keeps the count itself.
    - h2 sends nothing after the client's GOAWAY. Here, earlier requests still get their answers.
    - h2 checks the length of a frame only once the frame is complete, at up to 16 MiB. Here, at its first bytes.
    """

    def receive_data(self, data: Buffer) -> list[Event]:
        """Return h2's events; stay open after a GOAWAY. After a ProtocolError it stays closed."""
        events = super().receive_data(data)
        # The buffer now holds the beginning of one frame.
        if len(self.incoming_buffer._data) > self.max_inbound_frame_size + FRAME_HEADER_BYTES:
            self.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError("frame too large")
        if self.state_machine.state is ConnectionState.CLOSED:
            self.state_machine.state = ConnectionState.SERVER_OPEN
        return events

    @property
    def open_inbound_streams(self) -> int:
        """Always 0, so that h2 accepts every stream: `ProviderConnection` refuses with REFUSED_STREAM."""
        return 0

    def sweep(self) -> None:
        """Drop closed streams: h2 does that when it counts them."""
        _ = super().open_inbound_streams


def server_connection(initial_streams: int) -> ServerConnection:
    """Return h2 for the server's side, which announces `initial_streams` concurrent streams."""
    connection = ServerConnection(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            # The stand-in's headers are few and correct: checking them costs time.
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    connection.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: initial_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        },
    )
    connection.decoder.max_header_list_size = MAX_HEADER_LIST_BYTES
    return connection


def read_request(raw_headers: list[tuple[bytes, bytes]], body: bytes, body_size: int) -> Request:
    """Return the request with its headers as text. Bytes outside UTF-8 become surrogates, so lengths stay correct."""
    method = path = ""
    headers: dict[str, str] = {}
    count = 0
    for raw_name, raw_value in raw_headers:
        value = raw_value.decode("utf-8", "surrogateescape")
        if raw_name[:1] == b":":
            if raw_name == b":method":
                method = value
            elif raw_name == b":path":
                path = value
        else:
            headers[raw_name.decode("utf-8", "surrogateescape")] = value
            # A cookie may be split into several fields (RFC 9113, 8.2.3).
            count += raw_name != b"cookie"
    repeated = count != len(headers) - ("cookie" in headers)
    return Request(method, path, headers, repeated, body, body_size)
