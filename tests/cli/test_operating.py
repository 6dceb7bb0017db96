"""The commands on the relay's machine beside doctor: status, queue, retire, vacuum, tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

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


async def queued(database: Database, app_id: str, *installations: int, **columns: Any) -> None:
    """A batch in the queue, without its push."""
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


async def test_status_and_queue(command: Command, front: Front) -> None:
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
    await queued(database, app_id, 1, 2, 3)
    await queued(database, app_id, 4, held_by=stored.credential_id, last_reason="InvalidProviderToken")

    told = await as_json(command, "status")
    assert [one["host"] for one in told["nodes"]] == ["node-of-the-test"]
    assert {one["outcome"]: one["in_1_hour"] for one in told["rates"]} == {"delivered": 1000, "failed": 3}
    assert {one["outcome"]: one["in_5_minutes"] for one in told["rates"]} == {"delivered": 600, "failed": 3}
    assert told["failures"] == [{"outcome": "failed", "reason": "TopicDisallowed", "in_1_hour": 3}]
    assert [one["credential_id"] for one in told["suspended"]] == [stored.credential_id]
    assert (told["queue"]["batches"], told["queue"]["installations"]) == (2, 4)
    assert told["queue"]["by_app"][0]["app_id"] == "chess"
    assert told["database_bytes"] > 0
    shown = await command("status")
    assert shown.exit_code == 0, shown.output
    for words in ("node-of-the-test", "TopicDisallowed", "Suspended credentials", "2 batches with 4 targets"):
        assert words in shown.stdout, shown.stdout
    assert "BEGIN" not in shown.stdout

    whole = await command("queue")
    assert "chess" in whole.stdout
    assert "Held by credentials" in whole.stdout
    of_app = await as_json(command, "queue", "--app", app_id)
    assert [(one["state"], one["installations"]) for one in of_app["batches"]] == [("due", 3), ("held", 1)]
    table = await command("queue", "--app", app_id)
    assert f"held by {stored.credential_id}" in table.stdout, table.stdout
    unknown = await command("queue", "--app", "nobody's")
    assert (unknown.exit_code, "no such app" in unknown.stderr) == (1, True)


async def test_status_of_a_database_where_nothing_happened(command: Command, database: Database) -> None:
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
    found = {
        one.outcome: (one.in_5_minutes, one.in_1_hour) for one in rates(counts, start + timedelta(minutes=1))
    }
    assert found["delivered"] == (300, 310)
    assert found["failed"] == (0, 1)
    assert [(one.reason, one.in_1_hour) for one in failures(counts)] == [("Unregistered", 2), ("BadTopic", 1)]


async def test_retiring_a_device_a_customer_and_all(command: Command, front: Front) -> None:
    app_id = await front.app(app_id="chess")
    copies = {}
    for customer, phones in (("anna", 2), ("ben", 1), ("cleo", 1)):
        for number in range(phones):
            uuid = uuid4()
            udid = uuid.hex.ljust(40, "0")  # of each phone one: it would else have changed hands
            token = await front.install(front.copy(app_id, customer=customer, udid=udid), uuid)
            known = (await front.call("GET", "installation/", token=token)).body
            copies[f"{customer}{number}"] = uuid, token, known["customer_id"], known["device_id"]

    async def holds(name: str) -> bool:
        return (await front.call("GET", "installation/", token=copies[name][1])).status == 200

    _, _, anna, first = copies["anna0"]
    dry = await as_json(command, "retire", "--app", app_id, anna, "--dry-run")
    assert (dry["found"], dry["retired"]) == (2, 0)
    assert await holds("anna0")

    asked = await command("retire", "--app", app_id, first, text="n\n")
    assert "Retire 1?" in asked.output, asked.output
    assert await holds("anna0")
    done = await command("retire", "--app", app_id, f"{anna}/{first}", text="y\n")
    assert "1 were retired" in done.stdout, done.output
    assert (await holds("anna0"), await holds("anna1")) == (False, True)

    uuid = copies["ben0"][0]
    both = await as_json(command, "retire", "--app", app_id, anna, str(uuid), "--yes")
    assert (both["found"], both["retired"]) == (2, 2)
    assert [await holds(name) for name in copies] == [False, False, False, True]
    entries = await AuditRepository(front.database).list_entries(None, 2)
    assert [(one.action, one.actor) for one in entries] == [("installation.retired", "operator")] * 2

    for wrong in ([], [anna, "--all"], ["anna@example.com"], ["--all", "--json"]):
        assert (await command("retire", "--app", app_id, *wrong)).exit_code == 2, wrong
    other = await front.app(app_id="draughts")
    foreign = await command("retire", "--app", other, anna, "--yes")
    assert "has no customer or device" in str(foreign.exception), foreign.output
    everything = await as_json(command, "retire", "--app", app_id, "--all", "--yes")
    assert everything["retired"] == 1
    assert not await holds("cleo0")


async def test_vacuum(command: Command, database: Database) -> None:
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
    for told in (dry["swept"], swept["swept"]):
        assert told["partitions"] == [f"push_{day:%Y%m%d}"]
        assert (told["rows"]["audit"], told["rows"]["minute_count"]) == (3, 1)
    assert swept["swept"]["left"] == []
    again = await command("vacuum")
    assert (again.exit_code, "nothing past its time" in again.stdout) == (0, True), again.output
    kept = await MinuteCountRepository(database).sum_counts(long_ago, now + timedelta(minutes=1), 60)
    assert [one.count for one in kept] == [1]


async def test_tokens(command: Command, front: Front) -> None:
    publisher, manage = await front.publisher()
    app_id = await front.app(publisher)
    made = await front.call(
        "POST", f"apps/{app_id}/tokens/", {"label": "[/b] staging", "test_only": True}, token=manage
    )
    listed = await as_json(command, "tokens", "list")
    assert {one["kind"] for one in listed} == {"push", "manage", "operator"}
    assert [one["token_id"] for one in await as_json(command, "tokens", "list", "--kind", "push")] == [
        made.body["id"]
    ]
    assert await as_json(command, "tokens", "list", "--app", "another") == []
    of_publisher = await as_json(command, "tokens", "list", "--publisher", publisher)
    assert {one["kind"] for one in of_publisher} == {"push", "manage"}
    assert len(await as_json(command, "tokens", "list", "--unused-days", "1")) == len(listed), "made in March"
    shown = await command("tokens", "list")
    assert "[/b] staging" in shown.stdout, "other people's text is no mark-up"
    assert "test-only" in shown.stdout
    for secret in (manage, front.operator_token, made.body["token"]):
        assert secret not in shown.output

    ids = [made.body["id"], str(uuid4())]
    revoked = await command("tokens", "revoke", *ids, "--json")
    assert revoked.exit_code == 1, "one of them is not there"
    assert [one["revoked"] for one in json.loads(revoked.stdout)] == [True, False]
    assert await as_json(command, "tokens", "list", "--kind", "push") == []
    assert len(await as_json(command, "tokens", "list", "--kind", "push", "--revoked")) == 1

    new = (await as_json(command, "tokens", "create-operator", "--label", "mine"))["operator_token"]
    assert (await front.call("GET", "operator/apps/", token=new)).status == 200
    checked = await command("tokens", "check", "--revoke", "--json", text=f"{new}\n")
    told = json.loads(checked.stdout)
    assert (told["kind"], told["known"], told["revoked_now"], told["token"]["label"]) == (
        "operator",
        True,
        True,
        "mine",
    )
    unknown = await command("tokens", "check", "--json", text="hello\n")
    assert (unknown.exit_code, json.loads(unknown.stdout)["known"]) == (1, False)
