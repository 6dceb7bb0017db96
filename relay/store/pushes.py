"""SQL of accepting pushes and of reading them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from relay.core.accepting import PushRequest
from relay.core.routing import ClaimedBatch, Copy, Reach, Route
from relay.core.sending import Environment
from relay.store.database import Connection

# A destination is a customer or a device; both lead to the copies that have a device token of the wanted kind.
# One statement serves all requests that arrived together: `request` says which one a destination belongs to.
_REACH = """
WITH wanted AS (
    SELECT w.request, w.destination, s.app_id, s.kind, s.subject, ($4::text[])[w.request] AS token_kind
    FROM unnest($1::int[], $2::text[]) AS w(request, destination)
    JOIN scoped_identifier s ON s.app_id = ($3::text[])[w.request] AND s.value = w.destination
), reached AS (
    SELECT w.request, w.destination, w.token_kind, i.*
    FROM wanted w JOIN installation i ON w.kind = 'c' AND i.app_id = w.app_id AND i.customer_id = w.subject
    WHERE i.retired_at IS NULL
    UNION ALL
    SELECT w.request, w.destination, w.token_kind, i.*
    FROM wanted w JOIN installation i ON w.kind = 'd' AND i.app_id = w.app_id AND i.device_id = w.subject
    WHERE i.retired_at IS NULL
)
SELECT r.request, r.destination, {listed} AS listed, r.installation_id, r.bundle_id, r.team_id, r.environment,
       t.token
FROM reached r
JOIN device_token t ON t.app_id = r.app_id AND t.installation_id = r.installation_id AND t.kind = r.token_kind
WHERE t.retired_at IS NULL
"""
_LISTED = """EXISTS (
    SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
    WHERE a.app_id = r.app_id AND d.device_id = r.device_id
)"""
_REACH_ALL = _REACH.format(listed="false")
_REACH_LISTED = _REACH.format(listed=_LISTED)

# Pushes and their batches in one statement: it is one round trip and one commit, whatever their number.
_INSERT = """
WITH pushes AS (
    INSERT INTO push (app_id, push_id, token_id, created_at, expires_at, push_type, priority, expiration, collapse_id,
                      payload, debug, targets, skipped)
    SELECT * FROM unnest($1::push_row[])
), broadcasts AS (
    INSERT INTO broadcast (app_id, push_id, token_kind, listed_only)
    SELECT app_id, push_id, token_kind, listed_only FROM unnest($4::broadcast_row[])
)
INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, lease_owner, installations)
SELECT app_id, push_id, batch_id, cardinality(installations) > $3, attempt, due_at, lease_owner, installations
FROM unnest($2::batch_row[])
"""
ENVIRONMENTS: dict[str | None, Environment | None] = {
    None: None,
    "production": Environment.PRODUCTION,
    "sandbox": Environment.SANDBOX,
}
BULK = 100
"""A batch of more installations than this stands behind smaller ones of its app."""


async def reach(connection: Connection, requests: Sequence[PushRequest]) -> list[list[Reach]]:
    """For each request, the copies its destinations reach."""
    reached: list[list[Reach]] = [[] for _ in requests]
    for debug, statement in ((False, _REACH_ALL), (True, _REACH_LISTED)):
        numbers: list[int] = []
        destinations: list[str] = []
        for number, request in enumerate(requests, start=1):
            if request.debug is debug:
                names = (*request.customers, *request.devices)
                numbers.extend([number] * len(names))
                destinations.extend(names)
        if numbers:
            rows = await connection.fetch(
                statement,
                numbers,
                destinations,
                [request.app_id for request in requests],
                [request.token_kind for request in requests],
            )
            for number, destination, listed, installation_id, bundle_id, team_id, environment, token in rows:
                copy = Copy(installation_id, bundle_id, team_id, ENVIRONMENTS[environment], token)
                reached[number - 1].append(Reach(destination, listed, copy))
    return reached


@dataclass(frozen=True, slots=True)
class Lease:
    """Whose a batch is from its first moment on, and until when. None of it: whoever claims it first."""

    owner: UUID
    until: datetime


async def insert(
    connection: Connection,
    requests: Sequence[PushRequest],
    routes: Sequence[Route],
    leases: Sequence[Lease | None],
    batch_size: int,
    batch_id: Callable[[], int],
) -> list[list[ClaimedBatch]]:
    """Store pushes with their batches; `routes` and `leases` go by index. Durable when this returns.

    Returns the batches of each push. Those of a push with a lease are that node's to send at once.
    """
    pushes = []
    batches = []
    broadcasts = []
    made: list[list[ClaimedBatch]] = []
    for request, route, lease in zip(requests, routes, leases, strict=True):
        headers, installations = request.headers, list(route.copies)
        pushes.append(
            (
                request.app_id,
                request.push_id,
                request.token_id,
                request.accepted_at,
                request.expires_at,
                headers.push_type,
                headers.priority,
                headers.expiration,
                headers.collapse_id,
                request.payload,
                request.debug,
                len(installations),
                route.skipped,
            )
        )
        if request.everyone:
            broadcasts.append((request.app_id, request.push_id, request.token_kind, request.debug))
        owner, due_at = (lease.owner, lease.until) if lease else (None, request.accepted_at)
        own = []
        for start in range(0, len(installations), batch_size):
            batch = ClaimedBatch(
                request.app_id,
                request.push_id,
                batch_id(),
                0,
                installations[start : start + batch_size],
                request.payload,
                headers,
                request.accepted_at,
                request.expires_at,
            )
            own.append(batch)
            batches.append(
                (
                    batch.app_id,
                    batch.push_id,
                    batch.batch_id,
                    0,
                    due_at,
                    owner,
                    None,
                    "",
                    batch.installations,
                    None,
                )
            )
        made.append(own)
    await connection.execute(_INSERT, pushes, batches, BULK, broadcasts)
    return made


# --- reading back ---

_PUSH = """
SELECT app_id, push_id, created_at, expires_at, push_type, priority, expiration, collapse_id, debug, targets, skipped,
       EXISTS (SELECT FROM broadcast b WHERE b.app_id = p.app_id AND b.push_id = p.push_id) AS growing
FROM push p WHERE app_id = ANY($1::text[]) AND push_id = $2
"""
_COUNTS = """
SELECT outcome, reason, sum(cardinality(installations))::bigint AS count
FROM delivery WHERE app_id = $1 AND push_id = $2 GROUP BY outcome, reason
"""
_DELIVERIES = """
SELECT o.delivery_id, o.position, c.value AS customer, d.value AS device, i.alongside, o.outcome, o.status,
       o.reason, o.attempt, o.settled_at
FROM (
    SELECT l.app_id, l.delivery_id, l.outcome, l.status, l.reason, l.attempt, l.settled_at, u.id, u.position
    FROM delivery l CROSS JOIN LATERAL unnest(l.installations) WITH ORDINALITY AS u(id, position)
    WHERE l.app_id = $1 AND l.push_id = $2 AND l.delivery_id >= $3 AND (l.delivery_id, u.position) > ($3, $4)
    ORDER BY l.delivery_id, u.position LIMIT $5
) o
JOIN installation i ON i.app_id = o.app_id AND i.installation_id = o.id
LEFT JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
LEFT JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
ORDER BY o.delivery_id, o.position
"""
_TRACES = """
SELECT c.value AS customer, d.value AS device, i.alongside, t.attempt, t.record
FROM trace t
JOIN installation i ON i.app_id = t.app_id AND i.installation_id = t.installation_id
JOIN app a ON a.app_id = t.app_id
JOIN device v ON v.device_id = i.device_id
JOIN test_device l ON l.publisher_id = a.publisher_id AND l.udid_digest = v.udid_digest
LEFT JOIN scoped_identifier c ON c.app_id = i.app_id AND c.kind = 'c' AND c.subject = i.customer_id
LEFT JOIN scoped_identifier d ON d.app_id = i.app_id AND d.kind = 'd' AND d.subject = i.device_id
WHERE t.app_id = $1 AND t.push_id = $2
ORDER BY t.installation_id, t.attempt LIMIT 1000
"""


async def find(connection: Connection, app_ids: Sequence[str], push_id: UUID) -> asyncpg.Record | None:
    """The push of that id, if it belongs to one of these apps."""
    return await connection.fetchrow(_PUSH, app_ids, push_id)


async def counts(connection: Connection, app_id: str, push_id: UUID) -> list[tuple[str, str, int]]:
    """(outcome, reason, count) of what has ended."""
    return [tuple(row) for row in await connection.fetch(_COUNTS, app_id, push_id)]


async def deliveries(
    connection: Connection, app_id: str, push_id: UUID, after: tuple[int, int], limit: int
) -> list[asyncpg.Record]:
    """Outcomes in the order in which they were settled, after the position (delivery_id, index)."""
    return await connection.fetch(_DELIVERIES, app_id, push_id, *after, limit)


async def traces(connection: Connection, app_id: str, push_id: UUID) -> list[asyncpg.Record]:
    """The traces of that push for the devices that its publisher lists now."""
    return await connection.fetch(_TRACES, app_id, push_id)


async def find_of_publisher(
    connection: Connection, publisher_id: UUID | None, push_id: UUID
) -> asyncpg.Record | None:
    """The push of that id, if it belongs to an app of that publisher."""
    rows = await connection.fetch("SELECT app_id FROM app WHERE publisher_id = $1", publisher_id)
    return await find(connection, [row[0] for row in rows], push_id)
