"""The reach of a checked push: its targets, counted without sending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from relay.core.errors import Fault, Invalid
from relay.core.push.request import PushRequest
from relay.store.database import Database
from relay.store.push import broadcasts, pushes

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
    async with database.connection() as connection:
        if not request.everyone:
            [resolved] = await pushes.routes(connection, [request])
            if isinstance(resolved, Invalid):
                raise resolved
            return Reach(len(resolved.copies), resolved.skipped, resolved.warnings)
        counted = await broadcasts.count(
            connection, request.app_id, request.token_kind, request.debug, MAX_COUNTED_TARGETS
        )
    return Reach(*(counted or (None, None)))
