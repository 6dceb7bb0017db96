"""State of a stream of a connection."""

from __future__ import annotations

import asyncio


class Stream:
    """A request that arrives, or its answer that is being sent."""

    __slots__ = (
        "answered",
        "body",
        "frame_bytes",
        "headers",
        "reset_after",
        "size",
        "started",
        "timer",
        "unsent",
    )

    def __init__(self, headers: list[tuple[bytes, bytes]], started: float) -> None:
        self.headers = headers
        self.started = started
        self.body = b""
        self.size = 0
        self.answered = False
        self.timer: asyncio.TimerHandle | None = None
        self.unsent = b""
        self.frame_bytes: int | None = None
        self.reset_after: int | None = None
