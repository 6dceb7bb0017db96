"""The commands of operators and publishers, against a real relay in its own thread of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from relay.cli.admin import admin_app
from tests.api import pems
from tests.api.front import TEAM, Front

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def command(front: Front) -> Command:
    """Runs a command in a thread, while this one serves."""

    async def run(*arguments: str, token: str = "") -> Result:
        environ = {
            "PUSH_RELAY_URL": front.url,
            "PUSH_RELAY_TOKEN": token or front.operator_token,
            "COLUMNS": "250",
        }
        return await asyncio.to_thread(lambda: CliRunner().invoke(admin_app, list(arguments), env=environ))

    return run


async def made(command: Command, *arguments: str, token: str = "") -> Any:
    result = await command(*arguments, "--json", token=token)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_from_nothing_to_an_install_token(command: Command, front: Front, tmp_path: Path) -> None:
    publisher = await made(command, "publisher", "create", "Ada")
    app = await made(command, "app", "create", "Chess", "--publisher", publisher["id"], "--app-id", "chess")
    assert app["app_id"] == "chess"

    key = tmp_path / "AuthKey_KEY0000001.p8"
    key.write_text(pems.p8())
    credential = await made(command, "credential", "add", "--p8", str(key), "--team", TEAM)
    assert (credential["key_id"], credential["environment"]) == ("KEY0000001", "production")

    uuid = str(uuid4())
    copy = [
        "--app",
        "chess",
        "--customer",
        "k",
        "--udid",
        front.udid(),
        "--bundle",
        "com.example",
        "--team",
        TEAM,
    ]
    installed = await made(command, "installation", "put", uuid, *copy)
    identity = await front.call("GET", "installation/", token=installed["install_token"])
    assert identity.body["installation_uuid"] == uuid

    manage = publisher["manage_token"]
    token = await made(command, "push-token", "create", "--app", "chess", "--label", "mine", token=manage)
    assert token["token"].startswith("push_")
    device = await made(command, "test-device", "add", front.udid(), "--label", "my phone", token=manage)

    for arguments, shown, secret in (
        (["publisher", "list"], "Ada", "manage_"),
        (["app", "list"], "chess", "manage_"),
        (["credential", "list"], TEAM, "BEGIN"),
        (["push-token", "list", "--app", "chess"], "mine", "push_"),
        (["test-device", "list"], "my phone", "udid"),
        (["audit"], "credential.put", manage),
        (["audit", "--last", "1"], "test_device.added", "credential.put"),
    ):
        who = manage if arguments[0] in ("push-token", "test-device") else ""
        listed = await command(*arguments, token=who)
        assert listed.exit_code == 0, listed.output
        assert shown in listed.stdout
        assert secret not in listed.stdout

    own = await made(command, "audit", token=manage)
    assert [entry["action"] for entry in own[:2]] == ["test_device.added", "push_token.created"]
    for arguments, who in (
        (["credential", "resume", str(credential["id"])], ""),
        (["credential", "remove", str(credential["id"])], ""),
        (["push-token", "revoke", token["id"], "--app", "chess"], manage),
        (["test-device", "remove", device["id"]], manage),
        (["installation", "retire", uuid], ""),
    ):
        assert (await command(*arguments, token=who)).exit_code == 0, arguments
    assert (await front.call("GET", "installation/", token=installed["install_token"])).status == 401


async def test_a_name_is_shown_as_it_is(command: Command) -> None:
    """Brackets are no mark-up: a label must not hide itself, or end the command, in the operator's terminal."""
    name = "[/b] [red]Ada"
    await made(command, "publisher", "create", name)
    for arguments in (["publisher", "list"], ["audit"]):
        listed = await command(*arguments)
        assert (listed.exit_code, name in listed.stdout) == (0, True), listed.output


async def test_what_goes_wrong_is_said(command: Command, front: Front, tmp_path: Path) -> None:
    async def says(*arguments: str, token: str = "") -> str:
        result = await command(*arguments, token=token)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return str(result.stderr)

    assert "/team_id" in await says("credential", "add", "--p8", str(_file(tmp_path, pems.p8())))
    assert "cannot be read" in await says("credential", "add", "--p8", str(tmp_path / "none.p8"))
    assert "manage token" in await says("test-device", "list")
    assert "unknown, revoked or expired" in await says("publisher", "list", token="operator_x")
    assert "cannot be reached" in await says("publisher", "list", "--url", "http://127.0.0.1:1")
    assert "characters" in await says("publisher", "list", token="a\nb")
    assert "token file" in await says("publisher", "list", "--token-file", str(tmp_path / "none"))
    assert "Not found" in await says(
        "push-token", "list", "--app", "../x", token=(await front.publisher())[1]
    )


def _file(directory: Path, text: str) -> Path:
    path = directory / "file"
    path.write_text(text)
    return path


async def test_bulk_import(command: Command, front: Front, tmp_path: Path) -> None:
    app_id = await front.app()
    copies = [
        front.copy(app_id, installation_uuid=str(uuid4()), customer=f"k{n // 2}", udid=front.udid())
        for n in range(1500)
    ]
    lines = [json.dumps(copy) for copy in copies]
    # A new version of the first copy: the same device, another uuid. It comes later, so it wins.
    newer = {**copies[0], "installation_uuid": str(uuid4()), "app_version": "2.0"}
    lines[10:10] = [json.dumps(newer), "", "{nonsense", json.dumps({**copies[5], "team_id": "x"})]
    file, out = tmp_path / "copies.ndjson", tmp_path / "tokens.ndjson"
    file.write_text("\n".join(lines))
    out.touch(0o644)  # it was there before, for all to read

    first = await command("import", str(file), "--out", str(out), "--json")
    assert first.exit_code == 1
    assert json.loads(first.stdout) == {"imported": 1501, "bad_lines": 2}
    assert "copies.ndjson:13: The line is not valid JSON" in first.stderr
    assert "copies.ndjson:14: team_id: Expected 10 capital letters and digits." in first.stderr
    tokens = {
        one["installation_uuid"]: one["install_token"]
        for one in map(json.loads, out.read_text().splitlines())
    }
    assert len(tokens) == 1501
    assert out.stat().st_mode & 0o77 == 0, "tokens are for their owner's eyes"
    for copy, status in ((copies[0], 401), (newer, 200), (copies[1499], 200)):
        answer = await front.call("GET", "installation/", token=tokens[copy["installation_uuid"]])
        assert answer.status == status

    file.write_text("\n".join(json.dumps(copy) for copy in copies[1:]))
    again = await command("import", str(file), "--out", str(out))
    assert again.exit_code == 0, again.output
    assert {
        one["installation_uuid"]: one["install_token"]
        for one in map(json.loads, out.read_text().splitlines())
    } == {copy["installation_uuid"]: tokens[copy["installation_uuid"]] for copy in copies[1:]}
