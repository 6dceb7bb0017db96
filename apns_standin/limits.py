"""What the stand-in allows its clients."""

from __future__ import annotations

import msgspec


class StandInLimits(msgspec.Struct, frozen=True):
    """What a listener allows its clients; times in seconds.

    Attributes:
        initial_streams: concurrent streams until the first accepted push. Apple says 1 with token
        authentication. max_streams: concurrent streams from then on.
        max_connections: connections of one listener; more are closed at once.
        idle_seconds: a connection that sends nothing for so long is told goodbye.
        request_seconds: a request that is not complete after so long is reset.
        max_resets: a client that broke off so many more requests than it finished is sent away.
    """

    initial_streams: int = 1000
    max_streams: int = 1000
    max_connections: int = 1000
    idle_seconds: float = 3600.0
    request_seconds: float = 60.0
    max_resets: int = 1000
