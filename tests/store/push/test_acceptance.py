"""Accepting pushes: routes from stored installations, and pushes stored with their batches and keys."""

from __future__ import annotations

import asyncio
from itertools import count
from uuid import uuid4

import pytest

from relay.core.delivery.routing import Route
from relay.core.errors import Invalid
from relay.core.idempotency import IdempotencyDigests, IdempotencyKey
from relay.core.push.request import Accepted, PushRequest
from relay.store.database import Database
from relay.store.push.acceptance import AcceptanceRepository
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from relay.store.push.records import Lease
from tests.factories import NOW, make_push_request, make_route
from tests.store.push.batch_queue import HERE, LATER

LISTED, UNLISTED, RETIRED, WITHOUT_TOKEN = 1, 2, 3, 4
ADDRESS = b"the digest of an email address"


@pytest.fixture
async def acceptance(database: Database) -> AcceptanceRepository:
    """An app whose customer 1 has the devices 1 to 4 with an installation on each. Device 1 is a test device."""
    publisher_id = uuid4()
    async with database.connection() as connection:
        await connection.execute("INSERT INTO publisher VALUES ($1, 'P', $2)", publisher_id, NOW)
        await connection.execute("INSERT INTO app VALUES ('app', $1, 'A', $2)", publisher_id, NOW)
        await connection.execute("INSERT INTO customer (external_ref) VALUES ('anna')")
        await connection.execute(
            "INSERT INTO device (customer_id, udid_digest) SELECT 1, int4send(n) FROM generate_series(1, 4) n"
        )
        await connection.execute(
            "INSERT INTO scoped_identifier VALUES ('app', 'c', 1, 'c_anna'), ('app', 'd', 2, 'd_2')"
        )
        await connection.execute(
            "INSERT INTO test_device VALUES ($1, int4send(1), $2, 'mine', 'ok', $3)",
            publisher_id,
            uuid4(),
            NOW,
        )
        await connection.execute("INSERT INTO alias VALUES ('app', $1, 1, $2, $3)", ADDRESS, uuid4(), NOW)
        await connection.execute(
            "INSERT INTO installation (app_id, installation_uuid, customer_id, device_id, alongside, bundle_id, "
            "team_id, enrolled_at, retired_at) SELECT 'app', gen_random_uuid(), 1, n, '', 'b', 't', $1::timestamptz, "
            "CASE WHEN n = 3 THEN $1::timestamptz END FROM generate_series(1, 4) n",
            NOW,
        )
        await connection.execute(
            "INSERT INTO device_token (app_id, installation_id, token, registered_at) "
            "SELECT 'app', n, int4send(n), $1 FROM generate_series(1, 3) n",
            NOW,
        )
    return AcceptanceRepository(database)


def request_to(*customers: str, debug: bool = False, **destinations: list) -> PushRequest:
    request = make_push_request(customers=customers)
    request.debug = debug
    for name, value in destinations.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "targets", "skipped", "warnings"),
    [
        (request_to("c_anna"), {LISTED, UNLISTED}, 0, 0),
        (request_to(devices=["d_2"]), {UNLISTED}, 0, 0),
        (request_to("c_anna", devices=["d_2"]), {LISTED, UNLISTED}, 0, 0),
        (request_to(addresses=[ADDRESS]), {LISTED, UNLISTED}, 0, 0),
        (request_to("c_anna", debug=True), {LISTED}, 1, 0),
        (request_to(addresses=[ADDRESS], debug=True), {LISTED}, 1, 0),
        (request_to("c_anna", "c_bert"), {LISTED, UNLISTED}, 0, 1),
    ],
    ids=["customer", "device", "both", "address", "debug", "address, debug", "unknown customer"],
)
async def test_destinations_reach_active_installations_with_a_token(
    acceptance: AcceptanceRepository, request_: PushRequest, targets: set[int], skipped: int, warnings: int
) -> None:
    route = await acceptance.route_request(request_)
    assert isinstance(route, Route)
    assert (set(route.targets), route.skipped, len(route.warnings)) == (targets, skipped, warnings)
    assert {target.token for target in route.targets.values()} == {n.to_bytes(4, "big") for n in targets}


async def test_a_request_to_unknown_addresses_only_has_no_recipients(
    acceptance: AcceptanceRepository,
) -> None:
    assert isinstance(await acceptance.route_request(request_to(addresses=[b"unknown"])), Invalid)


async def test_requests_of_one_group_are_routed_apart(
    acceptance: AcceptanceRepository, database: Database
) -> None:
    requests = [request_to("c_anna"), request_to(devices=["d_2"]), request_to("c_anna", debug=True)]
    async with database.connection() as connection:
        routes = await acceptance.route_requests(connection, requests)
    assert [set(route.targets) for route in routes] == [{LISTED, UNLISTED}, {UNLISTED}, {LISTED}]


async def test_a_push_is_cut_into_batches_under_its_lease(
    acceptance: AcceptanceRepository, database: Database
) -> None:
    ids = count(1)
    async with database.connection() as connection:
        [batches] = await acceptance.store_pushes(
            connection,
            [make_push_request()],
            [make_route(installations=range(5))],
            [Lease(HERE, LATER)],
            2,
            lambda: next(ids),
        )
        rows = await connection.fetch(
            "SELECT batch_id, installations FROM batch WHERE lease_owner = $1 AND due_at = $2 ORDER BY batch_id",
            HERE,
            LATER,
        )
    assert batches is not None
    assert [(batch.batch_id, list(batch.installations)) for batch in batches] == [tuple(row) for row in rows]
    assert [row["installations"] for row in rows] == [[0, 1], [2, 3], [4]]


def key_of(body: bytes) -> IdempotencyKey:
    return IdempotencyDigests("a key for tests").read_key(['"k"'], HERE, body)


async def test_a_key_is_stored_once_with_its_answer(
    acceptance: AcceptanceRepository, database: Database
) -> None:
    """Requests with one key in two group commits at one time: one is stored, the other waits for it."""
    requests = [make_push_request(number=number) for number in (1, 2)]

    async def store(request: PushRequest) -> bool:
        request.key = key_of(b"body")
        ids = count(100 * request.push_id.int)
        async with database.connection() as connection:
            [batches] = await acceptance.store_pushes(
                connection,
                [request],
                [make_route(installations=[1])],
                [None],
                10,
                lambda: next(ids) % 2**62,
                [Accepted(request.push_id, b"the answer")],
            )
        return batches is not None

    stored = await asyncio.gather(*map(store, requests))
    assert sorted(stored) == [False, True]
    keys = IdempotencyKeyRepository(database)
    answer = await keys.find_stored_answer("app", key_of(b"body"))
    assert answer == Accepted(requests[stored.index(True)].push_id, b"the answer")
    assert await keys.find_stored_answer("other", key_of(b"body")) is None
    with pytest.raises(Invalid, match="another body"):
        await keys.find_stored_answer("app", key_of(b"another body"))
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM push") == 1
        assert await connection.fetchval("SELECT count(*) FROM batch") == 1
