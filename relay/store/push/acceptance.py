"""Accepting pushes: destinations become targets, and pushes are stored with their batches.

Both work for all requests of a group commit at once, on one connection: one query for the targets, and one statement
that stores everything, which is a transaction by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.core.delivery import routing
from relay.core.delivery.plan import ClaimedBatch
from relay.core.delivery.routing import ReachedTarget, Route, Target
from relay.core.errors import Invalid
from relay.core.ids import BatchId
from relay.core.push.destinations import DestinationName
from relay.core.push.push_types import PUSH_TYPES
from relay.core.push.request import Accepted, PushRequest
from relay.store import sql
from relay.store.database import Connection, Database
from relay.store.push.records import ENVIRONMENTS, MAX_SMALL_BATCH_SIZE, Lease

_SQL = sql.load(__package__, "acceptance.sql")
_REACH = {
    (by_address, debug): _SQL["reach"].format(
        wanted=_SQL["wanted_by_address" if by_address else "wanted_by_identifier"],
        listed=_SQL["listed"] if debug else "false",
    )
    for by_address in (False, True)
    for debug in (False, True)
}
"""The statements by whether destinations are email addresses, and whether it matters which devices are listed."""
_STORE = _SQL["store"].format(keys="", new="") + "\nSELECT 1"
_STORE_WITH_KEYS = (
    _SQL["store"].format(keys=_SQL["take_keys"] + " ", new=_SQL["only_new"])
    + "\nSELECT push_id FROM repeated"
)


class AcceptanceRepository:
    """The way of pushes into the queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def route_request(self, request: PushRequest) -> Route | Invalid:
        """Return the route of one request, or Invalid if it has no recipients.

        Raises:
            Unavailable: The database is away.
        """
        async with self._database.connection() as connection:
            [route] = await self.route_requests(connection, [request])
        return route

    async def route_requests(
        self, connection: Connection, requests: Sequence[PushRequest]
    ) -> list[Route | Invalid]:
        """Return the route of each request, by index, or Invalid for a request that has no recipients."""
        reached = await _reach_targets(connection, requests)
        return [_make_route(request, targets) for request, targets in zip(requests, reached, strict=True)]

    async def store_pushes(
        self,
        connection: Connection,
        requests: Sequence[PushRequest],
        routes: Sequence[Route],
        leases: Sequence[Lease | None],
        batch_size: int,
        batch_id: Callable[[], int],
        answers: Sequence[Accepted] = (),
    ) -> list[list[ClaimedBatch] | None]:
        """Store pushes with their batches. `routes`, `leases` and `answers` go by the index of `requests`.

        Outside a transaction they are durable when this returns. The batches of a push with a lease belong to that
        node from the start. `batch_id` returns a new id at each call. The answer of a request with an Idempotency-Key
        is stored under its key.

        Returns the batches of each push, or None for a push whose key was used before: nothing of it is stored.
        """
        push_rows = []
        batch_rows = []
        broadcast_rows = []
        batches: list[list[ClaimedBatch] | None] = []
        for request, route, lease in zip(requests, routes, leases, strict=True):
            headers, installations = request.headers, list(route.targets)
            push_rows.append(
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
                    _stored_token_kind(request),
                )
            )
            if request.everyone:
                broadcast_rows.append((request.app_id, request.push_id, request.token_kind, request.debug))
            owner, due_at = (lease.owner, lease.until) if lease else (None, request.accepted_at)
            push_batches = []
            for start in range(0, len(installations), batch_size):
                batch = ClaimedBatch(
                    request.app_id,
                    request.push_id,
                    BatchId(batch_id()),
                    0,
                    installations[start : start + batch_size],
                    request.payload,
                    headers,
                    request.accepted_at,
                    request.expires_at,
                    token_kind=request.token_kind,
                )
                push_batches.append(batch)
                batch_rows.append(
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
            batches.append(push_batches)
        key_rows = _key_rows(requests, answers)
        if not key_rows:
            await connection.execute(_STORE, push_rows, batch_rows, MAX_SMALL_BATCH_SIZE, broadcast_rows)
            return batches
        rows = await connection.fetch(
            _STORE_WITH_KEYS, push_rows, batch_rows, MAX_SMALL_BATCH_SIZE, broadcast_rows, key_rows
        )
        repeated = {row[0] for row in rows}
        return [
            None if request.push_id in repeated else push_batches
            for request, push_batches in zip(requests, batches, strict=True)
        ]


def _key_rows(requests: Sequence[PushRequest], answers: Sequence[Accepted]) -> list[tuple[object, ...]]:
    """Return the idempotency keys of requests as values of the composite type `idempotency_key_row`."""
    rows: list[tuple[object, ...]] = []
    for request, accepted in zip(requests, answers, strict=False):
        if (key := request.key) is not None:
            answer = key.seal(accepted.answer, request.push_id)
            rows.append(
                (
                    request.app_id,
                    key.digest,
                    key.fingerprint,
                    request.push_id,
                    answer,
                    request.accepted_at,
                )
            )
    return rows


async def _reach_targets(
    connection: Connection, requests: Sequence[PushRequest]
) -> list[list[ReachedTarget]]:
    """Return the targets that the destinations of each request reach, by index."""
    reached: list[list[ReachedTarget]] = [[] for _ in requests]
    for (by_address, debug), statement in _REACH.items():
        numbers: list[int] = []
        destinations: list[DestinationName] = []
        for number, request in enumerate(requests, start=1):
            if request.debug is debug:
                names: Sequence[DestinationName] = (
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
                target = Target(installation_id, bundle_id, team_id, ENVIRONMENTS[environment], token)
                reached[number - 1].append(ReachedTarget(destination, listed, target))
    return reached


def _make_route(request: PushRequest, reached: Sequence[ReachedTarget]) -> Route | Invalid:
    route = routing.route_push(
        request.customers,
        request.devices,
        reached,
        listed_only=request.debug,
        addresses=request.addresses,
        places=request.places,
    )
    try:
        routing.check_recipients(request, route)
    except Invalid as error:
        return error
    return route


def _stored_token_kind(request: PushRequest) -> str | None:
    """Return the kind of device token if the push type does not imply it. Nodes of earlier versions write None."""
    implied = PUSH_TYPES[request.headers.push_type].token_kind
    return request.token_kind if request.token_kind != implied else None
