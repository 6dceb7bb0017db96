"""Limits of the stand-in: what clients may do, and how much is kept in memory."""

from __future__ import annotations

import msgspec


class StandInLimits(msgspec.Struct, frozen=True):
    """Limits for clients. Durations are seconds.

    Attributes:
        initial_streams: concurrent streams until the first accepted push. Apple allows 1 with token authentication.
        max_streams: concurrent streams after the first accepted push.
        max_connections: connections of one listener. Further connections are closed at once.
        idle_seconds: a connection that sends nothing for this long gets a GOAWAY.
        request_seconds: a request that is incomplete after this long is reset.
        max_resets: a client gets a GOAWAY when it has reset this many more requests than it has finished.
        token_update_seconds: minimum time between two provider tokens of a key on a connection; 0 allows any.
        max_channels: broadcast channels of one app in one environment.
    """

    initial_streams: int = 1000
    max_streams: int = 1000
    max_connections: int = 1000
    idle_seconds: float = 3600.0
    request_seconds: float = 60.0
    max_resets: int = 1000
    token_update_seconds: float = 20 * 60
    max_channels: int = 10_000


class RetentionLimits(msgspec.Struct, frozen=True):
    """How many received notifications are kept in memory.

    Attributes:
        per_token: notifications of one device token or channel.
        total: notifications of all device tokens together.
        receipts: apns-ids whose accepted pushes are counted; 0 counts none.
    """

    per_token: int = 1000
    total: int = 50_000
    receipts: int = 0
