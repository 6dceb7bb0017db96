"""How h2 is set up for a server of many short streams, and how its headers become a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import FrameTooLargeError
from h2.settings import SettingCodes, Settings

from .checks import Request

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_HEADER_LIST_BYTES = 16384
FRAME_HEADER_BYTES = 9


class ServerConnection(H2Connection):
    """h2 with three habits broken.

    It walks over all streams at each new one to count them; `Connection` keeps the count itself. And it lets
    nothing out once the client has sent GOAWAY, though what the client asked before deserves its answer. And
    it looks at a frame's length only when it has all of the frame, which can be 16 MiB.
    """

    def receive_data(self, data: Buffer) -> list[Event]:
        """As in h2, but open again after a GOAWAY. Raises ProtocolError, and then stays closed."""
        events = super().receive_data(data)
        # What is left is the beginning of one frame.
        if len(self.incoming_buffer._data) > self.max_inbound_frame_size + FRAME_HEADER_BYTES:
            self.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError("frame too large")
        if self.state_machine.state is ConnectionState.CLOSED:
            self.state_machine.state = ConnectionState.SERVER_OPEN
        return events

    @property
    def open_inbound_streams(self) -> int:
        """Always 0, so h2 never objects to another stream; `Connection` does, with REFUSED_STREAM."""
        return 0

    def sweep(self) -> None:
        """Let h2 drop its closed streams, which it does when it counts."""
        _ = super().open_inbound_streams


def server_connection(initial_streams: int) -> ServerConnection:
    """h2 for the server's side, announcing that many concurrent streams."""
    connection = ServerConnection(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            # Our own headers are few and right; checking each again is time lost.
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
    """Headers as text. What is not UTF-8 survives as surrogates, so that lengths stay right."""
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
            # A cookie may come in pieces (RFC 9113 section 8.2.3).
            count += raw_name != b"cookie"
    repeated = count != len(headers) - ("cookie" in headers)
    return Request(method, path, headers, repeated, body, body_size)
