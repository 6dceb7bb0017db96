"""The request headers of pushes at APNs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PushHeaders:
    """Request headers that all pushes of a batch share (Apple, "Sending notification requests to APNs").

    `expiration` is epoch seconds, 0 for one attempt, None to leave the header out.
    """

    push_type: str
    priority: int
    expiration: int | None = None
    collapse_id: str | None = None
