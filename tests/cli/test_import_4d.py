"""`push-relay import-4d` with folders of a 4D Mobile App Server against a running relay."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from relay.cli.main import app
from tests.api import pems
from tests.api.front import OTHER_TEAM, TEAM, Front

KEY, OTHER_KEY, NEW_KEY = "KEY0000001", "KEY0000002", "KEY0000003"


class MobileApps:
    """A MobileApps folder, and the command that imports it."""

    def __init__(self, directory: Path, front: Front, publisher: str) -> None:
        self.directory, self.front, self.publisher = directory, front, publisher

    def add(self, bundle: str, team: str = TEAM, key: str = KEY, **manifest: Any) -> Path:
        folder = self.directory / f"{team}.{bundle}"
        folder.mkdir()
        content = {
            "application": {"id": bundle, "name": bundle.rpartition(".")[2].title()},
            "team": {"id": team},
            "id": f"{team}.{bundle}",
            "info": {"componentBuild": "246"},
            **manifest,
        }
        (folder / "manifest.json").write_text("\ufeff" + json.dumps(content), "utf-8")
        (folder / f"AuthKey_{key}.p8").write_text(pems.p8())
        return folder

    async def run(self, *arguments: str, publisher: str = "") -> Result:
        environ = {"PUSH_RELAY_URL": self.front.url, "PUSH_RELAY_TOKEN": self.front.operator_token}
        command = ["import-4d", str(self.directory), "--publisher", publisher or self.publisher, *arguments]
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, command, env=environ))

    async def done(self, *arguments: str, exit_code: int = 0, publisher: str = "") -> dict[str, Any]:
        """Return by folder its problem, or its steps as (kind, action, subject)."""
        result = await self.run(*arguments, "--json", publisher=publisher)
        assert result.exit_code == exit_code, result.output
        return {
            folder["folder"]: folder["problem"]
            or [(step["what"], step["did"], step["subject"]) for step in folder["steps"]]
            for folder in json.loads(result.stdout)["folders"]
        }

    async def credentials(self) -> dict[tuple[str, str, str], tuple[str, int]]:
        listed = await self.front.call("GET", "operator/credentials/")
        return {
            (item["team_id"], item["environment"], item["bundle_id"]): (item["key_id"], item["version"])
            for item in listed.body["items"]
        }


@pytest.fixture
async def folders(tmp_path: Path, front: Front) -> MobileApps:
    directory = tmp_path / "MobileApps"
    directory.mkdir()
    (directory / ".DS_Store").write_text("")
    (directory / "logs").mkdir()
    return MobileApps(directory, front, (await front.publisher())[0])


def steps(app_id: str, did: str, *credentials: tuple[str, str]) -> list[tuple[str, str, str]]:
    environments = ("production", "sandbox")
    return [
        ("app", did, app_id),
        *((environment, done, subject) for environment in environments for done, subject in credentials),
    ]


async def test_a_folder_becomes_an_app_and_a_credential_once(folders: MobileApps) -> None:
    folders.add("com.example.shop")
    rehearsal = await folders.done("--dry-run")
    assert await folders.credentials() == {}

    first = await folders.done()
    apps = (await folders.front.call("GET", "operator/apps/")).body["items"]
    assert [(app["name"], app["publisher_id"]) for app in apps] == [("Shop", folders.publisher)]
    app_id = apps[0]["app_id"]
    folder = f"{TEAM}.com.example.shop"
    assert first == rehearsal == {folder: steps(app_id, "created", ("added", ""))}
    imported = {(TEAM, "production", ""): (KEY, 1), (TEAM, "sandbox", ""): (KEY, 1)}
    assert await folders.credentials() == imported

    log = (await folders.front.call("GET", "audit/")).body["items"]
    assert await folders.done() == {folder: steps(app_id, "unchanged", ("unchanged", ""))}
    assert await folders.credentials() == imported
    assert (await folders.front.call("GET", "audit/")).body["items"] == log


async def test_the_key_of_another_app_is_not_replaced(folders: MobileApps) -> None:
    folders.add("com.example.shop")
    folders.add("com.example.chess", team=OTHER_TEAM)
    await folders.done("--environment", "production")
    zoo = folders.add("com.example.zoo", key=OTHER_KEY)
    await folders.done("--environment", "production")
    assert await folders.credentials() == {
        (TEAM, "production", ""): (KEY, 1),
        (OTHER_TEAM, "production", ""): (KEY, 1),
        (TEAM, "production", "com.example.zoo"): (OTHER_KEY, 1),
    }
    (zoo / f"AuthKey_{OTHER_KEY}.p8").rename(zoo / f"AuthKey_{NEW_KEY}.p8")
    done = await folders.done("--environment", "production")
    assert done[zoo.name][1] == ("production", "replaced", "com.example.zoo")
    assert (await folders.credentials())[TEAM, "production", "com.example.zoo"] == (NEW_KEY, 2)
    assert {step[1] for step in (await folders.done("--environment", "production"))[zoo.name]} == {
        "unchanged"
    }


async def test_a_faulty_folder_is_named_and_the_others_are_imported(
    folders: MobileApps, front: Front
) -> None:
    folders.add("com.example.fine")
    (folders.add("com.example.broken") / "manifest.json").write_text("{")
    (folders.add("com.example.deep") / "manifest.json").write_text('{"x":' + "[" * 60_000)
    (folders.add("com.example.two") / f"AuthKey_{OTHER_KEY}.p8").write_text(pems.p8())
    (folders.add("com.example.none") / f"AuthKey_{KEY}.p8").unlink()
    (folders.add("com.example.rsa") / f"AuthKey_{KEY}.p8").write_text(pems.rsa_key())
    (folders.add("com.example.named") / f"AuthKey_{KEY}.p8").rename(
        folders.directory / f"{TEAM}.com.example.named" / "AuthKey_x.p8"
    )
    folders.add("com.example.moved").rename(folders.directory / f"{TEAM}.com.example.elsewhere")
    folders.add("com.example.teamless", team="X")
    (folders.add("com.example.huge") / "manifest.json").write_text(" " * 100_000)
    done = await folders.done(exit_code=1)
    problems = {name.removeprefix(f"{TEAM}.com.example."): problem for name, problem in done.items()}
    assert isinstance(problems.pop("fine"), list)
    for name, word in (
        ("broken", "manifest.json cannot be read"),
        ("deep", "manifest.json cannot be read"),
        ("two", "2 AuthKey"),
        ("none", "0 AuthKey"),
        ("rsa", "P-256"),
        ("named", "AuthKey_x.p8"),
        ("elsewhere", f"{TEAM}.com.example.moved"),
        ("X.com.example.teamless", "team.id"),
        ("huge", "larger"),
    ):
        assert word in problems.pop(name)
    assert problems == {}
    assert len((await front.call("GET", "operator/apps/")).body["items"]) == 1

    shown = await folders.run()
    assert shown.exit_code == 1
    assert "problem" in shown.stdout
    assert "BEGIN" not in shown.output


async def test_an_app_stays_with_its_publisher(folders: MobileApps, front: Front) -> None:
    folder = folders.add("com.example.shop").name
    unknown = await folders.done(exit_code=1, publisher=str(uuid4()))
    assert "There is no such publisher" in unknown[folder]
    assert await folders.credentials() == {}
    await folders.done()
    refused = await folders.done(exit_code=1, publisher=(await front.publisher("Bob"))[0])
    assert "another publisher" in refused[folder]


async def test_an_empty_folder_is_reported(folders: MobileApps) -> None:
    result = await folders.run()
    assert (result.exit_code, "no app here" in result.stdout) == (1, True)
