"""The evidence of a run: ledger, device tokens and queue in the database, receipts at the stand-in."""

from __future__ import annotations

from collections.abc import Mapping, Set
from uuid import UUID

import asyncpg

from apns_standin import ControlClient
from chaos.verdict import DeviceToken, Evidence, LedgerRow

_OUTCOMES = """
SELECT push_id, outcome, reason, attempt, installations FROM delivery ORDER BY push_id
"""
# An installation that was enrolled before a push to all, and still is, was one of its targets. A cancelled push may
# have ended before it reached all of them.
_TARGETS_OF_ALL = """
SELECT p.push_id, CASE WHEN p.cancelled_at IS NOT NULL THEN p.targets ELSE greatest(p.targets, (
    SELECT count(*) FROM installation i JOIN device_token t USING (app_id, installation_id)
    WHERE i.app_id = p.app_id AND i.enrolled_at < p.created_at AND i.retired_at IS NULL
      AND t.registered_at < p.created_at AND t.retired_at IS NULL
)) END
FROM push p WHERE p.push_id = ANY($1::uuid[])
"""
_DEVICE_TOKENS = """
SELECT encode(token, 'hex'), extract(epoch FROM registered_at)::float8 * 1000,
       CASE WHEN retired_at IS NOT NULL THEN retired_reason END
FROM device_token
"""
_WAITING = "SELECT push_id, sum(cardinality(installations))::bigint FROM batch GROUP BY push_id"
_ROWS = """
SELECT (SELECT count(*) FROM batch) + (SELECT count(*) FROM broadcast),
       (SELECT count(*) FROM batch WHERE held_by IS NOT NULL)
"""


async def gather(
    postgres_url: str,
    apns: ControlClient,
    accepted: Mapping[UUID, int | None],
    population: int,
    may_repeat: int,
    cancelled: Set[UUID],
) -> Evidence:
    """Return the evidence. In `accepted` None marks a push to all. If its row is gone, it lost `population` targets."""
    connection = await asyncpg.connect(postgres_url)
    try:
        to_all = [push_id for push_id, targets in accepted.items() if targets is None]
        counted = {row[0]: row[1] for row in await connection.fetch(_TARGETS_OF_ALL, to_all)}
        rows_left, rows_held = await connection.fetchrow(_ROWS) or (0, 0)
        return Evidence(
            accepted={
                push_id: counted.get(push_id, population) if targets is None else targets
                for push_id, targets in accepted.items()
            },
            outcomes=[LedgerRow(*row) for row in await connection.fetch(_OUTCOMES)],
            receipts={receipt.apns_id: receipt.count async for receipt in apns.receipts()},
            device_tokens=[DeviceToken(*row) for row in await connection.fetch(_DEVICE_TOKENS)],
            dead=await apns.unregistered(),
            waiting={row[0]: row[1] for row in await connection.fetch(_WAITING)},
            rows_left=rows_left,
            rows_held=rows_held,
            may_repeat=may_repeat,
            cancelled=cancelled,
        )
    finally:
        await connection.close()
