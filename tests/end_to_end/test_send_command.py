"""`push-relay send` against a whole relay: notifications, output and exit codes."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from relay.cli.main import app as commands
from relay.node.main import Relay

from .store import ALERT, App, Store

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def command(relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs `push-relay send` in a thread, while the relay serves."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "payload.json").write_text(json.dumps(ALERT))

    async def run(app: App, *arguments: str, stdin: str = "", token: str | None = None) -> Result:
        environ = {
            "PUSH_RELAY_URL": relay.url,
            "PUSH_RELAY_APP": app.app_id,
            "PUSH_RELAY_TOKEN": app.push_token if token is None else token,
            "COLUMNS": "200",
        }
        return await asyncio.to_thread(
            lambda: CliRunner().invoke(commands, ["send", *arguments], env=environ, input=stdin)
        )

    return run


async def test_a_push_to_one_device_is_sent_and_watched(store: Store, command: Command) -> None:
    app = await store.app()
    copy, other = await store.copy(app, "anna", "a1"), await store.copy(app, "anna", "a2")
    device = f"{copy.customer}/{copy.device}"
    result = await command(app, device, "--payload", "payload.json", "--watch")
    assert result.exit_code == 0, result.output
    assert "to 1 copies" in result.stdout
    assert "done: 1 delivered" in result.stdout
    assert result.stderr == "", "no progress bar without a terminal"
    assert await store.received(copy, other) == [1, 0]
    whole = await command(app, device, copy.customer, "--payload", "payload.json", "--watch", "--json")
    shown = json.loads(whole.stdout)
    assert (shown["success"], shown["targets"], shown["push"]["counts"]["delivered"]) == (True, 2, 2)
    assert shown["push_id"] == shown["push"]["push_id"]


async def test_exit_code_1_if_nothing_is_delivered(store: Store, command: Command) -> None:
    app = await store.app()
    unregistered = await store.copy(app, "anna", "a1")
    store.apns.unregister(unregistered.device_token)
    watched = await command(app, unregistered.customer, "--payload", "payload.json", "--watch")
    assert watched.exit_code == 1
    assert "done: 1 unregistered" in watched.stdout
    assert "1 × Unregistered" in watched.stdout
    refused = await command(app, "c_x", "--payload", "payload.json", "--watch")
    assert refused.exit_code == 1
    assert "Error: /destinations/c_x" in refused.stderr


async def test_the_token_and_the_payload_may_come_from_standard_input(store: Store, command: Command) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    from_stdin = await command(
        app,
        copy.customer,
        "--payload",
        "payload.json",
        "--token-file",
        "-",
        stdin=f"{app.push_token}\n",
        token="",
    )
    assert from_stdin.exit_code == 0, from_stdin.output
    piped = await command(app, copy.customer, "--payload", "-", stdin=json.dumps(ALERT))
    assert piped.exit_code == 0, piped.output
    both = await command(app, copy.customer, "--payload", "-", "--token-file", "-")
    assert (both.exit_code, "only one" in both.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["c_x", "--all", "--title", "x"], "--all"),
        (["c_x", "--title", "x", "--payload", "payload.json"], "payload"),
        (["c_x", "--payload", "none.json"], "none.json"),
        (["--title", "x"], "no recipients"),
        (["c_x/", "--title", "x"], "c_x/ names no device"),
        (["booted", "--title", "x"], "simulators"),
        (["booted", "--title", "x", "--simulator-bundle", "-x"], "bundle identifier"),
        (["c_x", "--title", "x", "--idempotency-key", "é"], "ASCII"),
    ],
)
async def test_invalid_arguments_are_explained(
    store: Store, command: Command, arguments: list[str], word: str
) -> None:
    result = await command(await store.app(), *arguments)
    assert (result.exit_code, word in result.stderr) == (1, True), result.output
    assert "Traceback" not in result.output


@pytest.mark.skipif(sys.platform == "darwin", reason="there is a real xcrun")
async def test_a_simulator_gets_a_file_to_drag(store: Store, command: Command, tmp_path: Path) -> None:
    result = await command(
        await store.app(), "booted", "--title", "Good morning", "--simulator-bundle", "com.example.shop"
    )
    assert result.exit_code == 0, result.output
    (file,) = tmp_path.glob("*.apns")
    assert str(file) in result.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["aps"] == {"alert": {"title": "Good morning"}}
