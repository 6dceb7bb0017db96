"""Ids of what is listed page by page: publishers, API tokens, test devices."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from relay.core.clock import Random
from relay.core.ids import push_id


def new_id(now: datetime, random: Random) -> UUID:
    """A UUIDv7 of that moment: a list in the order of such ids is in the order of time."""
    return push_id(int(now.timestamp() * 1000), int.from_bytes(random(10), "big"))
