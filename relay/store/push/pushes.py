"""SQL of accepting pushes and of reading them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from relay.core.accounts import Environment
from relay.core.delivery import routing
from relay.core.delivery.plan import ClaimedBatch
from relay.core.delivery.routing import Reach, Route, Target
from relay.core.errors import Invalid
from relay.core.push.destinations import Name
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Accepted, PushRequest
from relay.store.database import Connection

# A destination is a customer, a device, or an address that customers have as an alias; all lead to the copies that have
# a device token of the wanted kind. One statement serves all requests that arrived together: `request` says which one
# a destination belongs to.
_REACH = """
WITH wanted AS (
    {wanted}
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
_WANTED = """
    SELECT w.request, w.destination, s.app_id, s.kind, s.subject, ($4::text[])[w.request] AS token_kind
    FROM unnest($1::int[], $2::text[]) AS w(request, destination)
    JOIN scoped_identifier s ON s.app_id = ($3::text[])[w.request] AND s.value = w.destination
"""
_WANTED_BY_ADDRESS = """
    SELECT w.request, w.destination, a.app_id, 'c' AS kind, a.customer_id AS subject,
           ($4::text[])[w.request] AS token_kind
    FROM unnest($1::int[], $2::bytea[]) AS w(request, destination)
    JOIN alias a ON a.app_id = ($3::text[])[w.request] AND a.digest = w.destination
"""
_LISTED = """EXISTS (
    SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
    WHERE a.app_id = r.app_id AND d.device_id = r.device_id
)"""
_STATEMENTS = {
    (by_address, debug): _REACH.format(
        wanted=_WANTED_BY_ADDRESS if by_address else _WANTED, listed=_LISTED if debug else "false"
    )
    for by_address in (False, True)
    for debug in (False, True)
}
"""By whether the destinations are addresses, and whether it matters which devices are listed."""

# Pushes and their batches in one statement: it is one round trip and one commit, whatever their number. Where some have
# an Idempotency-Key, their keys are taken first, in one order, so that two groups never wait for each other; whose key
# is taken already, perhaps by a group that is being committed and is waited for, is not stored.
_TAKE_KEYS = """
taken AS (
    INSERT INTO idempotency_key (app_id, digest, fingerprint, push_id, answer, created_at)
    SELECT * FROM unnest($5::idempotency_key_row[]) ORDER BY app_id, digest
    ON CONFLICT DO NOTHING RETURNING push_id
), repeated AS MATERIALIZED (
    SELECT push_id FROM unnest($5::idempotency_key_row[]) EXCEPT SELECT push_id FROM taken
), """
_NEW = "WHERE push_id NOT IN (SELECT push_id FROM repeated)"
_STORE = """
WITH {keys}pushes AS (
    INSERT INTO push (app_id, push_id, token_id, created_at, expires_at, push_type, priority, expiration, collapse_id,
                      payload, debug, targets, skipped, token_kind)
    SELECT * FROM unnest($1::push_row_with_kind[]) {new}
), broadcasts AS (
    INSERT INTO broadcast (app_id, push_id, token_kind, listed_only)
    SELECT app_id, push_id, token_kind, listed_only FROM unnest($4::broadcast_row[]) {new}
), batches AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, lease_owner, installations)
    SELECT app_id, push_id, batch_id, cardinality(installations) > $3, attempt, due_at, lease_owner, installations
    FROM unnest($2::batch_row[]) {new}
)
"""
_INSERT = _STORE.format(keys="", new="") + "SELECT 1"
_INSERT_WITH_KEYS = _STORE.format(keys=_TAKE_KEYS, new=_NEW) + "SELECT push_id FROM repeated"  # noqa: S608  ours
ENVIRONMENTS: dict[str | None, Environment | None] = {
    None: None,
    Environment.PRODUCTION: Environment.PRODUCTION,
    Environment.SANDBOX: Environment.SANDBOX,
}
BULK = 100
"""A batch of more installations than this stands behind smaller ones of its app."""


async def reach(connection: Connection, requests: Sequence[PushRequest]) -> list[list[Reach]]:
    """For each request, the copies its destinations reach."""
    reached: list[list[Reach]] = [[] for _ in requests]
    for (by_address, debug), statement in _STATEMENTS.items():
        numbers: list[int] = []
        destinations: list[Name] = []
        for number, request in enumerate(requests, start=1):
            if request.debug is debug:
                names: Sequence[Name] = (
                    request.addresses if by_address else (*request.customers, *request.devices)
                )
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
                copy = Target(installation_id, bundle_id, team_id, ENVIRONMENTS[environment], token)
                reached[number - 1].append(Reach(destination, listed, copy))
    return reached


async def routes(connection: Connection, requests: Sequence[PushRequest]) -> list[Route | Invalid]:
    """For each request, where it goes and what of it reaches nothing; Invalid if it has no recipients."""
    reached = await reach(connection, requests)
    return [_route(request, copies) for request, copies in zip(requests, reached, strict=True)]


def _route(request: PushRequest, reached: Sequence[Reach]) -> Route | Invalid:
    made = routing.route_push(
        request.customers,
        request.devices,
        reached,
        listed_only=request.debug,
        addresses=request.addresses,
        places=request.places,
    )
    try:
        routing.check_recipients(request, made)
    except Invalid as error:
        return error
    return made


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
    answers: Sequence[Accepted] = (),
) -> list[list[ClaimedBatch] | None]:
    """Store pushes with their batches; `routes`, `leases` and `answers` go by index. Durable when this returns.

    Returns the batches of each push, or None if its key was used before: then nothing of it is stored. Batches of a
    push with a lease are that node's to send at once. `answers` are kept where there is a key.
    """
    pushes = []
    batches = []
    broadcasts = []
    made: list[list[ClaimedBatch] | None] = []
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
                _stored_kind(request),
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
                token_kind=request.token_kind,
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
    keys = []
    for request, accepted in zip(requests, answers, strict=False):
        if (key := request.key) is not None:
            answer = key.seal(accepted.answer, request.push_id)
            keys.append(
                (
                    request.app_id,
                    key.digest,
                    key.fingerprint,
                    request.push_id,
                    answer,
                    request.accepted_at,
                )
            )
    if not keys:
        await connection.execute(_INSERT, pushes, batches, BULK, broadcasts)
        return made
    rows = await connection.fetch(_INSERT_WITH_KEYS, pushes, batches, BULK, broadcasts, keys)
    repeated = {row[0] for row in rows}
    return [None if request.push_id in repeated else own for request, own in zip(requests, made, strict=True)]


def _stored_kind(request: PushRequest) -> str | None:
    """The kind of device token where the push type alone does not say it; nodes of former versions write none."""
    usual = PUSH_TYPES[request.headers.push_type].token_kind
    return request.token_kind if request.token_kind != usual else None


# --- reading back ---

_PUSH = """
SELECT app_id, push_id, created_at, expires_at, push_type, priority, expiration, collapse_id, debug, targets, skipped,
       cancelled_at, EXISTS (SELECT FROM broadcast b WHERE b.app_id = p.app_id AND b.push_id = p.push_id) AS growing
FROM push p WHERE app_id = ANY($1::text[]) AND push_id = $2
"""
_ENDED = """
SELECT w.push_id FROM unnest($1::text[], $2::uuid[]) AS w(app_id, push_id)
WHERE NOT EXISTS (SELECT FROM batch b WHERE b.app_id = w.app_id AND b.push_id = w.push_id)
  AND NOT EXISTS (SELECT FROM broadcast c WHERE c.app_id = w.app_id AND c.push_id = w.push_id)
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


async def ended(connection: Connection, pushes: Mapping[UUID, str]) -> set[UUID]:
    """Which of these pushes, each with its app_id, have an outcome everywhere: nothing of them waits any more."""
    rows = await connection.fetch(_ENDED, list(pushes.values()), list(pushes))
    return {row[0] for row in rows}


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
