"""`push-relay import-4d MobileApps/`: the apps and keys of a 4D Mobile App Server.

Each folder `TEAM.bundle.id/` of it holds `manifest.json`, {"application": {"id", "name"}, "team": {"id"}}, and the
key `AuthKey_<key id>.p8`. It becomes an app, whose app_id follows from the folder's name, and a credential: that of
the whole team, or of this bundle identifier alone where the team has another key already. So a second run finds what
the first one made, and no other app's key is ever replaced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import UUID

import msgspec
import typer

from relay.cli.operator_client import AdminClient, AdminError
from relay.cli.terminal import URL, Json, TokenFile, Url, run_with_client, show
from relay.core.accounts import Environment
from relay.core.apns_credentials import SecretRefused, check_p8

_LARGEST_FILE = 64 * 1024
_TEAM_ID = re.compile(r"[A-Z0-9]{10}")
_KEY_FILE = re.compile(r"AuthKey_([A-Z0-9]{10})\.p8", re.IGNORECASE)


class FolderRefused(Exception):
    """A folder that cannot be imported; the text says why."""


@dataclass(frozen=True, slots=True, repr=False)
class AppFolder:
    """What a folder says. `p8` is PEM text."""

    team_id: str
    bundle_id: str
    name: str
    key_id: str
    p8: str

    @property
    def app_id(self) -> str:
        """The same at each run, in the form that the relay itself gives: 40 hexadecimal digits."""
        return hashlib.sha256(f"4D {self.team_id}.{self.bundle_id}".encode()).hexdigest()[:40]


class ImportedTopic(NamedTuple):
    """What a credential is for; a bundle_id of "" is the whole team."""

    team_id: str
    environment: str
    bundle_id: str


class Stored(NamedTuple):
    """What the relay has: the publisher of each app_id, the key id of each credential."""

    apps: dict[str, str]
    keys: dict[ImportedTopic, str]


@dataclass(frozen=True, slots=True)
class Step:
    """What is done for a folder: `did` is created, added, replaced, or unchanged where it was there before.

    `what` is "app", then `subject` is its app_id; or an environment, then `subject` is the bundle identifier of the
    credential, "" for the whole team.
    """

    what: str
    did: str
    subject: str


@dataclass(slots=True)
class Report:
    """What became of one folder. Without a `problem` all of its steps were done."""

    folder: str
    app_id: str = ""
    steps: list[Step] = field(default_factory=list)
    problem: str = ""


class _Application(msgspec.Struct):
    id: str
    name: str = ""


class _Team(msgspec.Struct):
    id: str


class _Manifest(msgspec.Struct):
    """4D's manifest has more in it, which is of no use here."""

    application: _Application
    team: _Team


def app_folders(directory: Path) -> list[Path]:
    """The folders of apps in a MobileApps folder: those with a manifest or a key, by name."""
    found = [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(path for path in found if (path / "manifest.json").exists() or any(_keys(path)))


def read_folder(folder: Path) -> AppFolder:
    """Read and check one folder. Raises FolderRefused."""
    try:
        text = _read(folder / "manifest.json").removeprefix(b"\xef\xbb\xbf")
        manifest = msgspec.json.decode(text, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FolderRefused(f"manifest.json cannot be read: {error}.") from None
    team_id, bundle_id = manifest.team.id, manifest.application.id
    if not _TEAM_ID.fullmatch(team_id):
        raise FolderRefused("manifest.json: team.id is not 10 capital letters and digits.")
    if folder.name.lower() != f"{team_id}.{bundle_id}".lower():
        raise FolderRefused(f"manifest.json is that of {team_id}.{bundle_id}.")
    keys = list(_keys(folder))
    if len(keys) != 1:
        raise FolderRefused(f"There are {len(keys)} AuthKey_….p8 files; one is needed.")
    named = _KEY_FILE.fullmatch(keys[0].name)
    if named is None:
        raise FolderRefused(f"{keys[0].name}: a key file is named AuthKey_<key id of 10 characters>.p8.")
    try:
        p8 = check_p8(_read(keys[0]).decode("ascii"))
    except (SecretRefused, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, SecretRefused) else "It is no PEM text."
        raise FolderRefused(f"{keys[0].name}: {why}") from None
    return AppFolder(team_id, bundle_id, manifest.application.name or bundle_id, named[1].upper(), p8)


def _keys(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if re.fullmatch(r"AuthKey_.*\.p8", path.name, re.I))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise FolderRefused(f"{path.name}: {error.strerror}.") from None
    if len(text) > _LARGEST_FILE:
        raise FolderRefused(f"{path.name} is larger than {_LARGEST_FILE} bytes.")
    return text


def plan(app: AppFolder, stored: Stored, publisher: str, environments: Iterable[Environment]) -> list[Step]:
    """The steps that make of `stored` what the folder asks for. Raises FolderRefused."""
    owner = stored.apps.get(app.app_id, publisher)
    if owner != publisher:
        raise FolderRefused(f"The app {app.app_id} is another publisher's.")
    steps = [Step("app", "unchanged" if app.app_id in stored.apps else "created", app.app_id)]
    for environment in environments:
        whole_team = ImportedTopic(app.team_id, environment, "")
        this_bundle = whole_team._replace(bundle_id=app.bundle_id)
        held = stored.keys.get(this_bundle)
        if held is not None:
            steps.append(Step(environment, "unchanged" if held == app.key_id else "replaced", app.bundle_id))
        elif whole_team in stored.keys:
            same = stored.keys[whole_team] == app.key_id
            steps.append(
                Step(environment, "unchanged", "") if same else Step(environment, "added", app.bundle_id)
            )
        else:
            steps.append(Step(environment, "added", ""))
    return steps


class Importer4D:
    """Imports folders for one publisher. `act` is false for a rehearsal, which only reads."""

    def __init__(
        self, client: AdminClient, publisher: UUID, environments: Sequence[Environment], *, act: bool = True
    ) -> None:
        self._client = client
        self._publisher = str(publisher)
        self._environments = environments
        self._act = act

    async def run(self, directory: Path) -> list[Report]:
        """Import every folder. Raises AdminError where the relay does not take the request at all."""
        folders = app_folders(directory)
        stored = await self._stored()
        return [await self._import(folder, stored) for folder in folders]

    async def _stored(self) -> Stored:
        apps = {item["app_id"]: item["publisher_id"] async for item in self._client.every("operator/apps/")}
        keys = {
            ImportedTopic(item["team_id"], item["environment"], item["bundle_id"]): item["key_id"]
            async for item in self._client.every("operator/credentials/")
        }
        return Stored(apps, keys)

    async def _import(self, folder: Path, stored: Stored) -> Report:
        report = Report(folder.name)
        try:
            app = read_folder(folder)
            report.app_id = app.app_id
            for step in plan(app, stored, self._publisher, self._environments):
                if self._act and step.did != "unchanged":
                    await self._do(step, app)
                report.steps.append(step)
                if step.what == "app":
                    stored.apps[app.app_id] = self._publisher
                elif step.did != "unchanged":
                    stored.keys[ImportedTopic(app.team_id, step.what, step.subject)] = app.key_id
        except FolderRefused as error:
            report.problem = str(error)
        except AdminError as error:
            if error.status not in (409, 422):
                raise
            report.problem = str(error)
        return report

    async def _do(self, step: Step, app: AppFolder) -> None:
        if step.what == "app":
            body = {"publisher_id": self._publisher, "name": app.name, "app_id": app.app_id}
            await self._client.call("POST", "operator/apps/", body)
            return
        body = {"environment": step.what, "team_id": app.team_id, "key_id": app.key_id, "p8": app.p8}
        if step.subject:
            body["bundle_id"] = step.subject
        await self._client.call("POST", "operator/credentials/", body)


def import_mobile_apps(
    directory: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, readable=True, help="4D's MobileApps folder.")
    ],
    publisher: Annotated[
        UUID, typer.Option("--publisher", help="The id of the publisher who owns the apps.")
    ],
    environments: Annotated[
        list[Environment] | None, typer.Option("--environment", help="Both, if not said, as with 4D.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Make an app and a credential of each folder of a 4D Mobile App Server; as often as you like (operator token)."""

    async def work(client: AdminClient) -> list[Report]:
        wanted = environments or list(Environment)
        return await Importer4D(client, publisher, wanted, act=not dry_run).run(directory)

    reports = run_with_client(url, token_file, work)
    if as_json:
        show({"dry_run": dry_run, "folders": msgspec.to_builtins(reports)}, as_json)
    else:
        _print(reports, dry_run=dry_run)
    if not reports or any(report.problem for report in reports):
        raise typer.Exit(1)


def _print(reports: Sequence[Report], *, dry_run: bool) -> None:
    if not reports:
        typer.echo(
            "There is no app here: each has a folder TEAM.bundle.id/ with manifest.json and AuthKey_….p8."
        )
        return
    for report in reports:
        typer.echo(report.folder)
        for step in report.steps:
            typer.echo(f"  {step.what:10}  {step.did:9}  {step.subject or 'for the whole team'}")
        if report.problem:
            typer.echo(f"  problem     {report.problem}")
    if dry_run:
        typer.echo("Nothing was changed: this is what would be done.")
    else:
        typer.echo(
            "Next, for each app, with the publisher's manage token: push-relay push-tokens create --app APP_ID"
        )
