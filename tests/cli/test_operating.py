"""The commands on the relay's machine without doctor: status, queue, retire, vacuum, tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from relay.cli.status import failures, rates
from relay.core.ids import make_uuid7, smallest_push_id
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE, AuditRepository
from relay.store.operations.minute_counts import MinuteCount, MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from tests.api import pems
from tests.api.front import KEYS, Front
from tests.cli.conftest import Command
from tests.factories import make_new_credential


async def as_json(command: Command, *arguments: str) -> Any:
    result = await command(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def add_batch(database: Database, app_id: str, *installations: int, **columns: Any) -> None:
    """Add a batch to the queue, without its push."""
    now = await database.now()
    values = {"due_at": now - timedelta(minutes=10), "held_by": None, "last_reason": ""} | columns
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO batch (app_id, push_id, batch_id, bulk, due_at, held_by, last_reason, installations) "
            "VALUES ($1, $2, $3, false, $4, $5, $6, $7)",
            app_id,
            make_uuid7(int(now.timestamp() * 1000), uuid4().int >> 54),
            uuid4().int >> 66,
            values["due_at"],
            values["held_by"],
            values["last_reason"],
            list(installations),
        )


@pytest.fixture
async def suspended_credential(front: Front) -> int:
    """The id of a suspended credential. One batch of the app "chess" is due, another is held by the credential."""
    database = front.database
    app_id = await front.app(app_id="chess")
    now = await database.now()
    node = NodeState(uuid4(), "node-of-the-test", 7, "0.2.0", ("api", "dispatch"), now, now, in_flight=12)
    await NodeRepository(database).record_heartbeat(node)
    counts = MinuteCountRepository(database)
    await counts.add_counts(now, {("delivered", ""): 600, ("failed", "TopicDisallowed"): 3})
    await counts.add_counts(now - timedelta(minutes=30), {("delivered", ""): 400})
    key = make_new_credential(secret=pems.p8())
    stored = await Credentials(database, KEYS).put(key, now, COMMAND_LINE)
    await Credentials(database, KEYS).suspend(stored.credential_id, "InvalidProviderToken", now)
    await add_batch(database, app_id, 1, 2, 3)
    await add_batch(database, app_id, 4, held_by=stored.credential_id, last_reason="InvalidProviderToken")
    return stored.credential_id


async def test_status_as_json(command: Command, suspended_credential: int) -> None:
    status = await as_json(command, "status")
    assert [node["host"] for node in status["nodes"]] == ["node-of-the-test"]
    rates_by_outcome = {
        rate["outcome"]: (rate["in_5_minutes"], rate["in_1_hour"]) for rate in status["rates"]
    }
    assert rates_by_outcome == {"delivered": (600, 1000), "failed": (3, 3)}
    assert status["failures"] == [{"outcome": "failed", "reason": "TopicDisallowed", "in_1_hour": 3}]
    assert [credential["credential_id"] for credential in status["suspended"]] == [suspended_credential]
    assert (status["queue"]["batches"], status["queue"]["installations"]) == (2, 4)
    assert status["queue"]["by_app"][0]["app_id"] == "chess"
    assert status["database_bytes"] > 0


async def test_status_as_text(command: Command, suspended_credential: int) -> None:
    shown = await command("status")
    assert shown.exit_code == 0, shown.output
    for words in ("node-of-the-test", "TopicDisallowed", "Suspended credentials", "2 batches with 4 targets"):
        assert words in shown.stdout, shown.stdout
    assert "BEGIN" not in shown.stdout


async def test_the_queue_of_all_apps_and_of_one(command: Command, suspended_credential: int) -> None:
    whole = await command("queue")
    assert "chess" in whole.stdout
    assert "Held by credentials" in whole.stdout
    of_app = await as_json(command, "queue", "--app", "chess")
    assert [(batch["state"], batch["installations"]) for batch in of_app["batches"]] == [
        ("due", 3),
        ("held", 1),
    ]
    table = await command("queue", "--app", "chess")
    assert f"held by {suspended_credential}" in table.stdout, table.stdout
    unknown = await command("queue", "--app", "unknown")
    assert (unknown.exit_code, "no such app" in unknown.stderr) == (1, True)


async def test_status_of_an_empty_database(command: Command, database: Database) -> None:
    shown = await command("status")
    assert shown.exit_code == 0, shown.output
    assert "none was seen in the last hour" in shown.stdout
    assert "0 batches" in shown.stdout


def test_rates_are_sums() -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    counts = [
        MinuteCount(start, "delivered", "", 10),
        MinuteCount(start + timedelta(minutes=5), "delivered", "", 300),
        MinuteCount(start, "failed", "BadTopic", 1),
        MinuteCount(start, "unregistered", "Unregistered", 2),
        MinuteCount(start, "retried", "ServiceUnavailable", 9),
    ]
    by_outcome = {
        rate.outcome: (rate.in_5_minutes, rate.in_1_hour)
        for rate in rates(counts, start + timedelta(minutes=1))
    }
    assert by_outcome["delivered"] == (300, 310)
    assert by_outcome["failed"] == (0, 1)
    by_reason = [(failure.reason, failure.in_1_hour) for failure in failures(counts)]
    assert by_reason == [("Unregistered", 2), ("BadTopic", 1)]


@dataclass
class Installed:
    """A copy on a phone: its installation's UUID and token, and the public ids of its customer and device."""

    uuid: UUID
    token: str
    customer_id: str
    device_id: str


@pytest.fixture
async def copies(front: Front) -> dict[str, Installed]:
    """Copies of the app "chess": two of anna, one of ben, one of cleo."""
    app_id = await front.app(app_id="chess")
    copies = {}
    for customer, phones in (("anna", 2), ("ben", 1), ("cleo", 1)):
        for number in range(phones):
            uuid = uuid4()
            udid = uuid.hex.ljust(40, "0")  # each copy is on another phone: a phone has one customer
            token = await front.install(front.copy(app_id, customer=customer, udid=udid), uuid)
            identity = (await front.call("GET", "installation/", token=token)).body
            copies[f"{customer}{number}"] = Installed(
                uuid, token, identity["customer_id"], identity["device_id"]
            )
    return copies


async def is_installed(front: Front, copy: Installed) -> bool:
    return (await front.call("GET", "installation/", token=copy.token)).status == 200


async def test_retire_a_device(command: Command, front: Front, copies: dict[str, Installed]) -> None:
    first, second = copies["anna0"], copies["anna1"]
    dry = await as_json(command, "retire", "--app", "chess", first.customer_id, "--dry-run")
    assert (dry["found"], dry["retired"]) == (2, 0)
    assert await is_installed(front, first)

    asked = await command("retire", "--app", "chess", first.device_id, text="n\n")
    assert "Retire 1?" in asked.output, asked.output
    assert await is_installed(front, first)
    done = await command("retire", "--app", "chess", f"{first.customer_id}/{first.device_id}", text="y\n")
    assert "1 were retired" in done.stdout, done.output
    assert (await is_installed(front, first), await is_installed(front, second)) == (False, True)


async def test_retire_a_customer_and_an_installation(
    command: Command, front: Front, copies: dict[str, Installed]
) -> None:
    anna, uuid = copies["anna0"].customer_id, copies["ben0"].uuid
    both = await as_json(command, "retire", "--app", "chess", anna, str(uuid), "--yes")
    assert (both["found"], both["retired"]) == (3, 3)
    assert [await is_installed(front, copy) for copy in copies.values()] == [False, False, False, True]
    entries = await AuditRepository(front.database).list_entries(None, 2)
    assert [(entry.action, entry.actor) for entry in entries] == [("installation.retired", "operator")] * 2


async def test_retire_all(command: Command, front: Front, copies: dict[str, Installed]) -> None:
    anna = copies["anna0"].customer_id
    for wrong in ([], [anna, "--all"], ["anna@example.com"], ["--all", "--json"]):
        assert (await command("retire", "--app", "chess", *wrong)).exit_code == 2, wrong
    other = await front.app(app_id="draughts")
    foreign = await command("retire", "--app", other, anna, "--yes")
    assert "has no customer or device" in str(foreign.exception), foreign.output
    everything = await as_json(command, "retire", "--app", "chess", "--all", "--yes")
    assert everything["retired"] == len(copies)
    assert not await is_installed(front, copies["cleo0"])


async def test_vacuum_deletes_expired_partitions_and_rows(command: Command, database: Database) -> None:
    now = await database.now()
    long_ago = now - timedelta(days=400)
    await MinuteCountRepository(database).add_counts(long_ago, {("delivered", ""): 1})
    await MinuteCountRepository(database).add_counts(now, {("delivered", ""): 1})
    day = (now - timedelta(days=40)).replace(hour=0, minute=0, second=0, microsecond=0)
    low, high = smallest_push_id(day), smallest_push_id(day + timedelta(days=1))
    async with database.connection() as connection:
        await connection.execute(
            f"CREATE TABLE push_{day:%Y%m%d} PARTITION OF push FOR VALUES FROM ('{low}') TO ('{high}')"
        )
        await connection.execute(
            "INSERT INTO audit (at, actor, action, subject, detail) "
            "SELECT $1, 'operator', 'app.created', n::text, '{}' FROM generate_series(1, 3) n",
            long_ago,
        )

    dry = await as_json(command, "vacuum", "--dry-run")
    swept = await as_json(command, "vacuum")
    for report in (dry["swept"], swept["swept"]):
        assert report["partitions"] == [f"push_{day:%Y%m%d}"]
        assert (report["rows"]["audit"], report["rows"]["minute_count"]) == (3, 1)
    assert swept["swept"]["left"] == []
    again = await command("vacuum")
    assert (again.exit_code, "nothing past its time" in again.stdout) == (0, True), again.output
    kept = await MinuteCountRepository(database).sum_counts(long_ago, now + timedelta(minutes=1), 60)
    assert [minute.count for minute in kept] == [1]


class PushToken(NamedTuple):
    """A push token and the publisher it belongs to."""

    publisher: str
    manage: str
    token_id: str
    text: str


@pytest.fixture
async def push_token(front: Front) -> PushToken:
    publisher, manage = await front.publisher()
    path = f"apps/{await front.app(publisher)}/tokens/"
    answer = await front.call("POST", path, {"label": "[/b] staging", "test_only": True}, token=manage)
    return PushToken(publisher, manage, answer.body["id"], answer.body["token"])


async def test_tokens_are_listed(command: Command, push_token: PushToken) -> None:
    listed = await as_json(command, "tokens", "list")
    assert {token["kind"] for token in listed} == {"push", "manage", "operator"}
    [push] = await as_json(command, "tokens", "list", "--kind", "push")
    assert push["token_id"] == push_token.token_id
    assert await as_json(command, "tokens", "list", "--app", "another") == []
    of_publisher = await as_json(command, "tokens", "list", "--publisher", push_token.publisher)
    assert {token["kind"] for token in of_publisher} == {"push", "manage"}
    assert len(await as_json(command, "tokens", "list", "--unused-days", "1")) == len(listed), (
        "the tokens were created in March"
    )


async def test_tokens_are_listed_as_text_without_their_secret(
    command: Command, front: Front, push_token: PushToken
) -> None:
    shown = await command("tokens", "list")
    assert "[/b] staging" in shown.stdout, "a label is shown without interpreting its brackets"
    assert "test-only" in shown.stdout
    for secret in (push_token.manage, front.operator_token, push_token.text):
        assert secret not in shown.output


async def test_tokens_are_revoked(command: Command, push_token: PushToken) -> None:
    ids = [push_token.token_id, str(uuid4())]
    revoked = await command("tokens", "revoke", *ids, "--json")
    assert revoked.exit_code == 1, "one of the tokens does not exist"
    assert [token["revoked"] for token in json.loads(revoked.stdout)] == [True, False]
    assert await as_json(command, "tokens", "list", "--kind", "push") == []
    assert len(await as_json(command, "tokens", "list", "--kind", "push", "--revoked")) == 1


async def test_a_token_that_leaked_is_checked_and_revoked(command: Command, front: Front) -> None:
    new = (await as_json(command, "tokens", "create-operator", "--label", "mine"))["operator_token"]
    assert (await front.call("GET", "operator/apps/", token=new)).status == 200
    checked = await command("tokens", "check", "--revoke", "--json", text=f"{new}\n")
    report = json.loads(checked.stdout)
    assert (report["kind"], report["known"], report["revoked_now"], report["token"]["label"]) == (
        "operator",
        True,
        True,
        "mine",
    )
    unknown = await command("tokens", "check", "--json", text="hello\n")
    assert (unknown.exit_code, json.loads(unknown.stdout)["known"]) == (1, False)
