"""Concurrent enrolments: no deadlock, no installation and no identifier twice, one owner for each device."""

from __future__ import annotations

import asyncio
import random
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from relay.core.identifiers import Identifiers
from relay.store.accounts.api_tokens import IssuedToken
from relay.store.accounts.apps import App, AppRepository
from relay.store.accounts.publishers import Publisher, PublisherRepository
from relay.store.database import Database
from relay.store.installations.device_tokens import DeviceTokenRepository
from relay.store.installations.enrolment_rules import Enrolment, EnrolmentRefused
from relay.store.installations.enrolments import EnrolmentRepository
from relay.store.installations.installations import InstallationRepository
from relay.store.operations.audit import Actor, ActorKind
from tests.factories import make_enrolment

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPERATOR = Actor(ActorKind.OPERATOR, uuid4())
IDENTIFIERS = Identifiers(("a key of at least thirty-two characters",))


@pytest.fixture
async def enrolments(database: Database) -> EnrolmentRepository:
    publisher = Publisher(uuid4(), "Ada", NOW)
    await PublisherRepository(database).create_publisher(
        publisher, IssuedToken(uuid4(), "manage_x", NOW), OPERATOR
    )
    apps = AppRepository(database)
    for app_id in ("chess", "poker"):
        assert await apps.create_app(App(app_id, publisher.publisher_id, app_id, NOW), OPERATOR)
    return EnrolmentRepository(database, IDENTIFIERS, secrets.token_bytes)


def enrolment(device: int, *, app_id: str = "chess", **fields: Any) -> Enrolment:
    return make_enrolment(device=device, app_id=app_id, **fields)


async def values(database: Database, sql: str) -> list[tuple[object, ...]]:
    async with database.connection() as connection:
        return [tuple(row) for row in await connection.fetch(sql)]


async def test_concurrent_enrolments_of_equal_installations_agree(
    database: Database, enrolments: EnrolmentRepository
) -> None:
    everything = [enrolment(device, app_id=app_id) for device in range(60) for app_id in ("chess", "poker")]

    async def enrol(seed: int) -> dict[UUID, int]:
        mixed = random.Random(seed).sample(everything, len(everything))
        return {
            enrolled.installation_uuid: enrolled.serial
            for enrolled in await enrolments.enrol_installations(mixed, NOW, OPERATOR)
        }

    first, *others = await asyncio.gather(*map(enrol, range(8)))
    assert all(other == first for other in others), "each got the same installations"
    assert await values(database, "SELECT count(*), count(DISTINCT installation_uuid) FROM installation") == [
        (120, 120)
    ]
    assert await values(
        database, "SELECT kind, count(*) FROM scoped_identifier GROUP BY kind ORDER BY kind"
    ) == [
        (b"c", 40),
        (b"d", 120),
    ]


async def test_concurrent_customers_leave_one_owner_for_each_device(
    database: Database, enrolments: EnrolmentRepository
) -> None:
    async def enrol(number: int) -> None:
        batch = [
            enrolment(d, customer=f"owner {number}", installation_uuid=uuid4())
            for d in random.Random(number).sample(range(9), 9)
        ]
        await enrolments.enrol_installations(batch, NOW, OPERATOR)

    await asyncio.gather(*map(enrol, range(8)))
    owners = await values(
        database,
        "SELECT count(*), count(DISTINCT udid_digest), count(DISTINCT customer_id) FROM installation "
        "JOIN device USING (device_id, customer_id) WHERE retired_at IS NULL",
    )
    assert owners[0][:2] == (9, 9)


async def test_a_uuid_goes_to_one_of_many_devices(
    database: Database, enrolments: EnrolmentRepository
) -> None:
    uuid = uuid4()
    results = await asyncio.gather(
        *(
            enrolments.enrol_installations([enrolment(device, installation_uuid=uuid)], NOW, OPERATOR)
            for device in range(8)
        ),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, EnrolmentRefused)]
    assert (len(results), len(refused)) == (8, 7)
    assert {fault.code for error in refused for _, fault in error.faults} == {"conflict"}
    assert await values(database, "SELECT count(*) FROM installation") == [(1,)]
    assert await values(database, "SELECT count(*) FROM customer") == [(1,)], (
        "a refusal leaves nothing behind"
    )


async def test_a_storm_of_all_operations_ends(database: Database, enrolments: EnrolmentRepository) -> None:
    """Enrol, change owners, retire and register concurrently: each call returns, and the rules hold afterwards."""
    installations, tokens = InstallationRepository(database), DeviceTokenRepository(database)
    pool = [enrolment(device, app_id=app_id) for device in range(6) for app_id in ("chess", "poker")]
    enrolled = await enrolments.enrol_installations(pool, NOW, OPERATOR)

    async def storm(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(12):
            target = choose.choice(enrolled)
            match choose.randrange(4):
                case 0:
                    await installations.retire_installation(target.installation_uuid, NOW, OPERATOR)
                case 1:
                    customer = choose.choice(["", "thief"])
                    batch = [enrolment(d, customer=customer) for d in choose.sample(range(6), 6)]
                    await enrolments.enrol_installations(batch, NOW, OPERATOR)
                case _:
                    token = bytes([choose.randrange(4)]) * 32
                    installation = await installations.find_installation(
                        target.app_id, target.installation_uuid, target.serial
                    )
                    if installation:
                        await tokens.register_token(
                            installation.app_id,
                            installation.installation_id,
                            target.serial,
                            "apns",
                            token,
                            NOW,
                        )

    await asyncio.gather(*map(storm, range(8)))
    assert (
        await values(
            database,
            "SELECT t.token FROM device_token t JOIN installation i USING (app_id, installation_id) "
            "WHERE t.retired_at IS NULL AND i.retired_at IS NOT NULL",
        )
        == []
    ), "a retired installation has no active device token"
    assert (
        await values(
            database,
            "SELECT udid_digest FROM installation JOIN device USING (device_id) WHERE retired_at IS NULL "
            "GROUP BY udid_digest HAVING count(DISTINCT device.customer_id) > 1",
        )
        == []
    ), "a device has one owner"


async def test_a_token_is_active_at_one_of_many_installations(
    database: Database, enrolments: EnrolmentRepository
) -> None:
    await enrolments.enrol_installations([enrolment(device) for device in range(8)], NOW, OPERATOR)
    tokens = DeviceTokenRepository(database)
    rows = await values(database, "SELECT app_id, installation_id, serial FROM installation")

    async def register(row: tuple[object, ...]) -> None:
        app_id, installation_id, serial = row
        for token in (b"a" * 32, b"b" * 32):
            assert await tokens.register_token(
                str(app_id), int(str(installation_id)), int(str(serial)), "apns", token, NOW
            )

    await asyncio.gather(*map(register, rows))
    active = await values(database, "SELECT token FROM device_token WHERE retired_at IS NULL")
    assert len(active) == len(set(active)) >= 1


async def test_an_unchanged_enrolment_writes_no_installation(
    database: Database, enrolments: EnrolmentRepository
) -> None:
    await enrolments.enrol_installations([enrolment(1), enrolment(2)], NOW, OPERATOR)
    before = await values(database, "SELECT xmin, i.* FROM installation i ORDER BY installation_id")
    again = await enrolments.enrol_installations([enrolment(2), enrolment(1)], NOW, OPERATOR)
    assert [enrolled.created for enrolled in again] == [False, False]
    assert await values(database, "SELECT xmin, i.* FROM installation i ORDER BY installation_id") == before
