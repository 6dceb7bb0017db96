"""`push-relay doctor` and `credentials rotate` against a whole relay and its APNs stand-in, over real TLS."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner, Result

from apns_standin import ApnsStandIn, ListenerFault
from relay.cli.main import app
from relay.node.main import Relay
from relay.settings import Settings
from tests.api import pems

from .store import Store

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def settings_file(settings: Settings, tmp_path: Path) -> Path:
    """Write the settings of the running relay to a file and return its path."""
    file = tmp_path / "relay.yaml"
    file.write_text(yaml.safe_dump(msgspec.to_builtins(settings)))
    file.chmod(0o600)
    return file


@pytest.fixture
def command(settings_file: Path, relay: Relay, store: Store) -> Command:
    """Return a function that runs a command in a thread, while the relay serves."""

    async def run(*arguments: str, **environ: str) -> Result:
        known = {
            "PUSH_RELAY_CONFIG": str(settings_file),
            "PUSH_RELAY_URL": relay.url,
            "PUSH_RELAY_TOKEN": store.operator_token,
            "COLUMNS": "250",
        }
        runner = CliRunner()
        return await asyncio.to_thread(lambda: runner.invoke(app, list(arguments), env=known | environ))

    return run


def lines(result: Result, check: str) -> list[str]:
    return [line for line in result.stdout.splitlines() if line[2:].startswith(f"{check} ")]


async def test_a_working_relay_has_no_findings(command: Command, store: Store) -> None:
    await store.credential("TEAM000001", "production")
    await store.credential("TEAM000001", "sandbox")
    result = await command("doctor", "--ask-apple", "--workers", "2")
    [database] = lines(result, "database")
    assert "PostgreSQL" in database  # the database of the tests has no fsync, so this check fails
    assert [line for line in result.stdout.splitlines() if line[0] == "✗" and line != database] == []
    for check, text in (
        ("keys", "nobody else may read"),
        ("migrations", "are applied"),
        ("clock", "the database's"),
        ("connections", "2 processes of these settings may take 12"),
        ("partitions", "6 days ahead"),
        ("disk", "GiB"),
        ("credential 1", "production, team TEAM000001, all topics: key"),
        ("credential 1", "TLSv1.3, ALPN h2"),
        ("credential 2", "Apple accepts it"),
    ):
        assert any(text in line for line in lines(result, check)), (check, text, result.stdout)
    assert store.operator_token not in result.output


async def test_the_report_as_json(command: Command, store: Store) -> None:
    await store.credential("TEAM000001", "production")
    result = await command("doctor", "--json")
    report = json.loads(result.stdout)
    assert (report["good"], result.exit_code) == (False, 1), "the database of the tests has no fsync"
    seen = [finding["seen"] for finding in report["findings"] if finding["check"] == "credential 1"]
    assert [facts.get("key_id", "") != "" for facts in seen] == [True, False]
    assert seen[1]["alpn"] == "h2"
    assert seen[1]["streams"] > 0


async def test_a_key_that_apple_refuses_is_reported(
    command: Command, store: Store, apns: ApnsStandIn
) -> None:
    body = {"team_id": "TEAM000009", "environment": "production", "key_id": "KEY0000009", "p8": pems.p8()}
    await store.must("POST", "/v1.0/operator/credentials/", store.operator_token, body)
    # Apple checks the key before the device token; the stand-in does not, so a fault sets its answer.
    await apns.set_fault(ListenerFault("invalid_provider_token"))
    quiet = await command("doctor")
    assert not any("refuses" in line for line in lines(quiet, "credential 1")), (
        "Apple is asked on demand only"
    )
    asked = await command("doctor", "--ask-apple")
    assert asked.exit_code == 1
    assert any("✗" in line and "InvalidProviderToken" in line for line in lines(asked, "credential 1")), (
        asked.output
    )

    await store.must("POST", "/v1.0/operator/credentials/1/suspend/", store.operator_token)
    suspended = await command("doctor")
    assert any(
        "suspended since" in line and "SuspendedByOperator" in line
        for line in lines(suspended, "credential 1")
    )


async def test_an_unreachable_apple_is_reported(command: Command, store: Store) -> None:
    nowhere = {"PUSH_RELAY_APNS__PRODUCTION__PORT": "9", "PUSH_RELAY_APNS__PRODUCTION__HOST": "127.0.0.1"}
    unstored = await command("doctor", **nowhere)
    assert any("ConnectFailed" in line for line in lines(unstored, "apns production")), unstored.output
    assert any("✓" in line for line in lines(unstored, "apns sandbox")), unstored.output
    await store.credential("TEAM000001", "production")
    stored = await command("doctor", **nowhere)
    assert stored.exit_code == 1
    assert any("ConnectFailed" in line for line in lines(stored, "credential 1")), stored.output


async def test_faults_of_the_machine_and_the_settings_are_reported(
    command: Command, settings_file: Path, tmp_path: Path
) -> None:
    os.chmod(tmp_path / "keys.yaml", 0o644)
    result = await command("doctor", "--workers", "1000")
    assert any("✗" in line and "chmod 600" in line for line in lines(result, "keys")), result.output
    assert any("✗" in line and "max_connections" in line for line in lines(result, "connections"))

    missing = await command("doctor", PUSH_RELAY_KEYS__FILE=str(tmp_path / "none.yaml"))
    assert any("is not there" in line for line in lines(missing, "keys")), missing.output
    assert not (tmp_path / "none.yaml").exists(), "doctor creates no file"

    nowhere = tmp_path / "nowhere"
    away = await command("doctor", PUSH_RELAY_DATABASE__URL="''", PUSH_RELAY_DATABASE__EMBEDDED=str(nowhere))
    assert (away.exit_code, "There is no database" in away.stdout, nowhere.exists()) == (1, True, False)

    secret = "postgresql://relay:secret-of-the-database@127.0.0.1:1/relay"
    refused = await command("doctor", PUSH_RELAY_DATABASE__URL=secret)
    assert (refused.exit_code, "secret" in refused.output) == (1, False), refused.output

    settings_file.write_text("nonsense: 1\n")
    unknown = await command("doctor", "--json")
    [finding] = json.loads(unknown.stdout)["findings"]
    assert (unknown.exit_code, finding["check"], "nonsense" in finding["text"]) == (1, "settings", True)


async def test_the_key_of_a_team_is_rotated(
    command: Command, store: Store, apns: ApnsStandIn, tmp_path: Path
) -> None:
    """A key that Apple refuses replaces none. A valid key replaces both, and held pushes are sent."""
    shop = await store.app()
    copy = await store.copy(shop, "anna", "a1", environment="production")
    await store.credential("TEAM000001", "sandbox")
    suspended = await command("credentials", "suspend", "1")
    assert suspended.exit_code == 0, suspended.output
    status, answer = await store.send(shop, {copy.customer: []})
    assert status == 202

    stranger = tmp_path / "AuthKey_KEY0000009.p8"
    stranger.write_text(pems.p8())
    refused = await command(
        "credentials", "rotate", "--team", "TEAM000001", "--p8", str(stranger), "--ask-apple"
    )
    assert refused.exit_code == 1
    assert "InvalidProviderToken" in refused.stderr
    assert "Nothing was replaced" in refused.stderr
    listed = json.loads((await command("credentials", "list", "--json")).stdout)
    assert "KEY0000009" not in {credential["key_id"] for credential in listed}

    issued = apns.issue_key("TEAM000001")
    file = tmp_path / f"AuthKey_{issued.key_id}.p8"
    file.write_text(issued.p8)
    arguments = ["credentials", "rotate", "--team", "TEAM000001", "--p8", str(file), "--ask-apple", "--json"]
    done = await command(*arguments)
    assert done.exit_code == 0, done.output
    rotated = json.loads(done.stdout)
    assert {(new["environment"], new["key_id"], new["state"]) for new in rotated} == {
        ("production", issued.key_id, "active"),
        ("sandbox", issued.key_id, "active"),
    }
    page = await store.done(shop, answer["push_id"])
    assert page["counts"]["delivered"] == 1

    none = await command("credentials", "rotate", "--team", "TEAM000002", "--p8", str(file))
    assert (none.exit_code, "no such key" in none.stderr) == (1, True), none.output
