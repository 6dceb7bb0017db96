"""The reach of a checked push: its targets, counted without sending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from relay.core.errors import Fault, Invalid
from relay.core.push.request import PushRequest
from relay.store.database import Database
from relay.store.push.acceptance import AcceptanceRepository
from relay.store.push.broadcasts import BroadcastRepository

MAX_COUNTED_TARGETS = 100_000
"""Targets of a push to all customers. A larger number is not determined."""


class Reach(NamedTuple):
    """The number of targets, of skipped installations, and warnings.

    Both numbers are None for a push with more than `MAX_COUNTED_TARGETS` targets.
    """

    targets: int | None
    skipped: int | None
    warnings: Sequence[Fault] = ()


async def count_reach(database: Database, request: PushRequest) -> Reach:
    """Count the targets of a checked push.

    Raises:
        Invalid: the push has no recipients.
    """
    if not request.everyone:
        route = await AcceptanceRepository(database).route_request(request)
        if isinstance(route, Invalid):
            raise route
        return Reach(len(route.targets), route.skipped, route.warnings)
    counted = await BroadcastRepository(database).count_broadcast_targets(
        request.app_id, request.token_kind, MAX_COUNTED_TARGETS, listed_only=request.debug
    )
    return Reach(*(counted or (None, None)))
