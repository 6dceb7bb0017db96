"""The commands of operators and publishers, against the real API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from relay.cli.admin import admin_app
from tests.api import pems
from tests.api.front import TEAM, Front

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def command(front: Front) -> Command:
    """Return a function that runs a command in a thread, while this one serves the API."""

    async def run(*arguments: str, token: str = "") -> Result:
        environ = {
            "PUSH_RELAY_URL": front.url,
            "PUSH_RELAY_TOKEN": token or front.operator_token,
            "COLUMNS": "250",
        }
        return await asyncio.to_thread(lambda: CliRunner().invoke(admin_app, list(arguments), env=environ))

    return run


async def run_as_json(command: Command, *arguments: str, token: str = "") -> Any:
    """Return the JSON that a successful command prints."""
    result = await command(*arguments, "--json", token=token)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


class Created(NamedTuple):
    """The things that a store and a publisher create with commands, from an empty database to an install token."""

    publisher: dict[str, Any]
    credential: dict[str, Any]
    installation: dict[str, Any]
    push_token: dict[str, Any]
    test_device: dict[str, Any]

    @property
    def manage_token(self) -> str:
        return str(self.publisher["manage_token"])


@pytest.fixture
async def created(command: Command, front: Front, tmp_path: Path) -> Created:
    publisher = await run_as_json(command, "publisher", "create", "Ada")
    app = ("app", "create", "Chess", "--publisher", publisher["id"], "--app-id", "chess")
    assert (await run_as_json(command, *app))["app_id"] == "chess"
    key = tmp_path / "AuthKey_KEY0000001.p8"
    key.write_text(pems.p8())
    credential = await run_as_json(command, "credential", "add", "--p8", str(key), "--team", TEAM)
    copy = ("--app", "chess", "--customer", "k", "--udid", front.udid(), "--bundle", "com.example")
    installation = await run_as_json(command, "installation", "put", str(uuid4()), *copy, "--team", TEAM)
    token = publisher["manage_token"]
    push_token = ("push-token", "create", "--app", "chess", "--label", "mine")
    test_device = ("test-device", "add", front.udid(), "--label", "my phone")
    return Created(
        publisher,
        credential,
        installation,
        await run_as_json(command, *push_token, token=token),
        await run_as_json(command, *test_device, token=token),
    )


async def test_commands_create_a_working_store(created: Created, front: Front) -> None:
    assert created.credential["key_id"] == "KEY0000001"
    assert created.credential["environment"] == "production"
    assert created.push_token["token"].startswith("push_")
    shown = await front.call("GET", "installation/", token=created.installation["install_token"])
    assert shown.body["installation_uuid"] == created.installation["installation_uuid"]


async def test_lists_show_no_secrets(created: Created, command: Command) -> None:
    for arguments, shown, hidden in (
        (["publisher", "list"], "Ada", "manage_"),
        (["app", "list"], "chess", "manage_"),
        (["credential", "list"], TEAM, "BEGIN"),
        (["push-token", "list", "--app", "chess"], "mine", "push_"),
        (["test-device", "list"], "my phone", "udid"),
        (["audit"], "credential.put", created.manage_token),
        (["audit", "--last", "1"], "test_device.added", "credential.put"),
    ):
        token = created.manage_token if arguments[0] in ("push-token", "test-device") else ""
        listed = await command(*arguments, token=token)
        assert listed.exit_code == 0, listed.output
        assert shown in listed.stdout
        assert hidden not in listed.stdout


async def test_a_publisher_reads_its_own_audit_log(created: Created, command: Command) -> None:
    entries = await run_as_json(command, "audit", token=created.manage_token)
    assert [entry["action"] for entry in entries[:2]] == ["test_device.added", "push_token.created"]


async def test_everything_can_be_removed_again(created: Created, command: Command, front: Front) -> None:
    credential_id, installation_uuid = (
        str(created.credential["id"]),
        created.installation["installation_uuid"],
    )
    for arguments, token in (
        (["credential", "resume", credential_id], ""),
        (["credential", "remove", credential_id], ""),
        (["push-token", "revoke", created.push_token["id"], "--app", "chess"], created.manage_token),
        (["test-device", "remove", created.test_device["id"]], created.manage_token),
        (["installation", "retire", installation_uuid], ""),
    ):
        assert (await command(*arguments, token=token)).exit_code == 0, arguments
    install_token = created.installation["install_token"]
    assert (await front.call("GET", "installation/", token=install_token)).status == 401


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


class ImportFile(NamedTuple):
    """1500 copies, in a file that also has a new version of the first one, an empty line and two bad lines."""

    copies: list[dict[str, Any]]
    newer: dict[str, Any]
    path: Path
    tokens_path: Path

    def read_tokens(self) -> dict[str, str]:
        """Return the install tokens that the import wrote, by installation uuid."""
        items = map(json.loads, self.tokens_path.read_text().splitlines())
        return {item["installation_uuid"]: item["install_token"] for item in items}


@pytest.fixture
async def import_file(front: Front, tmp_path: Path) -> ImportFile:
    app_id = await front.app()
    copies = [
        front.copy(app_id, installation_uuid=str(uuid4()), customer=f"k{n // 2}", udid=front.udid())
        for n in range(1500)
    ]
    lines = [json.dumps(copy) for copy in copies]
    newer = {**copies[0], "installation_uuid": str(uuid4()), "app_version": "2.0"}
    lines[10:10] = [json.dumps(newer), "", "{nonsense", json.dumps({**copies[5], "team_id": "x"})]
    file = ImportFile(copies, newer, tmp_path / "copies.ndjson", tmp_path / "tokens.ndjson")
    file.path.write_text("\n".join(lines))
    return file


async def test_an_import_names_bad_lines_and_imports_the_others(
    command: Command, front: Front, import_file: ImportFile
) -> None:
    result = await command("import", str(import_file.path), "--out", str(import_file.tokens_path), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"imported": 1501, "bad_lines": 2}
    assert "copies.ndjson:13: The line is not valid JSON" in result.stderr
    assert "copies.ndjson:14: team_id: Expected 10 capital letters and digits." in result.stderr
    tokens = import_file.read_tokens()
    assert len(tokens) == 1501
    first, last = import_file.copies[0], import_file.copies[-1]
    for copy, status in ((first, 401), (import_file.newer, 200), (last, 200)):
        answer = await front.call("GET", "installation/", token=tokens[copy["installation_uuid"]])
        assert answer.status == status


async def test_a_file_of_install_tokens_is_readable_for_its_owner_only(
    command: Command, import_file: ImportFile
) -> None:
    import_file.tokens_path.touch(0o644)
    await command("import", str(import_file.path), "--out", str(import_file.tokens_path))
    assert import_file.tokens_path.stat().st_mode & 0o77 == 0


async def test_a_repeated_import_returns_the_install_tokens_again(
    command: Command, import_file: ImportFile
) -> None:
    arguments = ("import", str(import_file.path), "--out", str(import_file.tokens_path))
    await command(*arguments)
    tokens = import_file.read_tokens()
    copies = import_file.copies[1:]
    import_file.path.write_text("\n".join(json.dumps(copy) for copy in copies))
    result = await command(*arguments)
    assert result.exit_code == 0, result.output
    uuids = [copy["installation_uuid"] for copy in copies]
    assert import_file.read_tokens() == {uuid: tokens[uuid] for uuid in uuids}
