"""Commands of operators and publishers against a running relay."""

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
    """Return a function that runs a command in a thread, while this one serves."""

    async def run(*arguments: str, token: str = "") -> Result:
        environ = {
            "PUSH_RELAY_URL": front.url,
            "PUSH_RELAY_TOKEN": token or front.operator_token,
            "COLUMNS": "250",
        }
        return await asyncio.to_thread(lambda: CliRunner().invoke(admin_app, list(arguments), env=environ))

    return run


async def run_as_json(command: Command, *arguments: str, token: str = "") -> Any:
    result = await command(*arguments, "--json", token=token)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_commands_lead_from_a_publisher_to_an_install_token(
    command: Command, front: Front, tmp_path: Path
) -> None:
    publisher = await run_as_json(command, "publisher", "create", "Ada")
    app = await run_as_json(
        command, "app", "create", "Chess", "--publisher", publisher["id"], "--app-id", "chess"
    )
    assert app["app_id"] == "chess"

    key = tmp_path / "AuthKey_KEY0000001.p8"
    key.write_text(pems.p8())
    credential = await run_as_json(command, "credential", "add", "--p8", str(key), "--team", TEAM)
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
    installed = await run_as_json(command, "installation", "put", uuid, *copy)
    identity = await front.call("GET", "installation/", token=installed["install_token"])
    assert identity.body["installation_uuid"] == uuid

    manage = publisher["manage_token"]
    token = await run_as_json(
        command, "push-token", "create", "--app", "chess", "--label", "mine", token=manage
    )
    assert token["token"].startswith("push_")
    device = await run_as_json(
        command, "test-device", "add", front.udid(), "--label", "my phone", token=manage
    )

    for arguments, shown, secret in (
        (["publisher", "list"], "Ada", "manage_"),
        (["app", "list"], "chess", "manage_"),
        (["credential", "list"], TEAM, "BEGIN"),
        (["push-token", "list", "--app", "chess"], "mine", "push_"),
        (["test-device", "list"], "my phone", "udid"),
        (["audit"], "credential.put", manage),
        (["audit", "--last", "1"], "test_device.added", "credential.put"),
    ):
        acting_token = manage if arguments[0] in ("push-token", "test-device") else ""
        listed = await command(*arguments, token=acting_token)
        assert listed.exit_code == 0, listed.output
        assert shown in listed.stdout
        assert secret not in listed.stdout

    entries = await run_as_json(command, "audit", token=manage)
    assert [entry["action"] for entry in entries[:2]] == ["test_device.added", "push_token.created"]
    for arguments, acting_token in (
        (["credential", "resume", str(credential["id"])], ""),
        (["credential", "remove", str(credential["id"])], ""),
        (["push-token", "revoke", token["id"], "--app", "chess"], manage),
        (["test-device", "remove", device["id"]], manage),
        (["installation", "retire", uuid], ""),
    ):
        assert (await command(*arguments, token=acting_token)).exit_code == 0, arguments
    assert (await front.call("GET", "installation/", token=installed["install_token"])).status == 401


async def test_markup_in_a_name_is_shown_as_text(command: Command) -> None:
    """A name in brackets must neither disappear from the operator's terminal nor end the command."""
    name = "[/b] [red]Ada"
    await run_as_json(command, "publisher", "create", name)
    for arguments in (["publisher", "list"], ["audit"]):
        listed = await command(*arguments)
        assert (listed.exit_code, name in listed.stdout) == (0, True), listed.output


async def test_a_failure_is_explained_without_a_traceback(
    command: Command, front: Front, tmp_path: Path
) -> None:
    async def error_of(*arguments: str, token: str = "") -> str:
        result = await command(*arguments, token=token)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        return str(result.stderr)

    assert "/team_id" in await error_of("credential", "add", "--p8", str(_file(tmp_path, pems.p8())))
    assert "cannot be read" in await error_of("credential", "add", "--p8", str(tmp_path / "none.p8"))
    assert "manage token" in await error_of("test-device", "list")
    assert "unknown, revoked or expired" in await error_of("publisher", "list", token="operator_x")
    assert "cannot be reached" in await error_of("publisher", "list", "--url", "http://127.0.0.1:1")
    assert "characters" in await error_of("publisher", "list", token="a\nb")
    assert "token file" in await error_of("publisher", "list", "--token-file", str(tmp_path / "none"))
    assert "Not found" in await error_of(
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
    # A new version of the first copy, on its device with another UUID. The later line counts.
    newer = {**copies[0], "installation_uuid": str(uuid4()), "app_version": "2.0"}
    lines[10:10] = [json.dumps(newer), "", "{nonsense", json.dumps({**copies[5], "team_id": "x"})]
    file, out = tmp_path / "copies.ndjson", tmp_path / "tokens.ndjson"
    file.write_text("\n".join(lines))
    out.touch(0o644)  # the file exists, and all may read it

    first = await command("import", str(file), "--out", str(out), "--json")
    assert first.exit_code == 1
    assert json.loads(first.stdout) == {"imported": 1501, "bad_lines": 2}
    assert "copies.ndjson:13: The line is not valid JSON" in first.stderr
    assert "copies.ndjson:14: team_id: Expected 10 capital letters and digits." in first.stderr
    tokens = {
        line["installation_uuid"]: line["install_token"]
        for line in map(json.loads, out.read_text().splitlines())
    }
    assert len(tokens) == 1501
    assert out.stat().st_mode & 0o77 == 0, "only the file's owner may read tokens"
    for copy, status in ((copies[0], 401), (newer, 200), (copies[1499], 200)):
        answer = await front.call("GET", "installation/", token=tokens[copy["installation_uuid"]])
        assert answer.status == status

    file.write_text("\n".join(json.dumps(copy) for copy in copies[1:]))
    again = await command("import", str(file), "--out", str(out))
    assert again.exit_code == 0, again.output
    assert {
        line["installation_uuid"]: line["install_token"]
        for line in map(json.loads, out.read_text().splitlines())
    } == {copy["installation_uuid"]: tokens[copy["installation_uuid"]] for copy in copies[1:]}
