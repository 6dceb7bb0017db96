"""`push-relay import-4d MobileApps/`: the import of apps and keys of a 4D Mobile App Server.

Each folder `TEAM.bundle.id/` holds `manifest.json`, {"application": {"id", "name"}, "team": {"id"}}, and the key
`AuthKey_<key id>.p8`. It becomes an app and a credential. The app_id is derived from the folder's name, so a second run
recognizes the app. The credential serves the whole team, or only this bundle identifier if the team already has another
key, so the key of another app is never replaced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import typer

from relay.cli.operator_client import OperatorClient, OperatorError
from relay.core.accounts import Environment
from relay.core.apns_credentials import SecretRefused, check_p8

_MAX_FILE_BYTES = 64 * 1024
_TEAM_ID = re.compile(r"[A-Z0-9]{10}")
_KEY_FILE = re.compile(r"AuthKey_([A-Z0-9]{10})\.p8", re.IGNORECASE)


class FolderRefused(Exception):
    """A folder that cannot be imported. The text gives the reason."""


@dataclass(frozen=True, slots=True, repr=False)
class AppFolder:
    """The content of a folder. `p8` is PEM text."""

    team_id: str
    bundle_id: str
    name: str
    key_id: str
    p8: str

    @property
    def app_id(self) -> str:
        """The app identifier, equal at each run: 40 hex digits, as in the relay's own identifiers."""
        return hashlib.sha256(f"4D {self.team_id}.{self.bundle_id}".encode()).hexdigest()[:40]


class ImportedTopic(NamedTuple):
    """The scope of a credential. An empty `bundle_id` stands for the whole team."""

    team_id: str
    environment: str
    bundle_id: str


class RelayState(NamedTuple):
    """The relay's state: the publisher of each app_id, and the key id of each credential."""

    apps: dict[str, str]
    keys: dict[ImportedTopic, str]


@dataclass(frozen=True, slots=True)
class ImportStep:
    """A step of the import of a folder.

    `what` is "app" and `subject` its app_id; or `what` is an environment and `subject` the bundle identifier of the
    credential, empty for the whole team. `did` is "created", "added", "replaced" or "unchanged".
    """

    what: str
    did: str
    subject: str


@dataclass(slots=True)
class FolderReport:
    """The result for one folder. Without a `problem`, all steps were done."""

    folder: str
    app_id: str = ""
    steps: list[ImportStep] = field(default_factory=list)
    problem: str = ""


class _Application(msgspec.Struct):
    id: str
    name: str = ""


class _Team(msgspec.Struct):
    id: str


class _Manifest(msgspec.Struct):
    """The fields of 4D's manifest that are needed here."""

    application: _Application
    team: _Team


def app_folders(directory: Path) -> list[Path]:
    """Return the folders of apps in a MobileApps folder, by name: those with a manifest or a key."""
    folders = [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(path for path in folders if (path / "manifest.json").exists() or any(_keys(path)))


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
    name = _KEY_FILE.fullmatch(keys[0].name)
    if name is None:
        raise FolderRefused(f"{keys[0].name}: a key file is named AuthKey_<key id of 10 characters>.p8.")
    try:
        p8 = check_p8(_read(keys[0]).decode("ascii"))
    except (SecretRefused, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, SecretRefused) else "It is no PEM text."
        raise FolderRefused(f"{keys[0].name}: {reason}") from None
    return AppFolder(team_id, bundle_id, manifest.application.name or bundle_id, name[1].upper(), p8)


def _keys(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if re.fullmatch(r"AuthKey_.*\.p8", path.name, re.I))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FolderRefused(f"{path.name}: {error.strerror}.") from None
    if len(text) > _MAX_FILE_BYTES:
        raise FolderRefused(f"{path.name} is larger than {_MAX_FILE_BYTES} bytes.")
    return text


def plan(
    app: AppFolder, stored: RelayState, publisher: str, environments: Iterable[Environment]
) -> list[ImportStep]:
    """Return the steps that bring the relay from `stored` to what the folder describes. Raises FolderRefused."""
    owner = stored.apps.get(app.app_id, publisher)
    if owner != publisher:
        raise FolderRefused(f"The app {app.app_id} is another publisher's.")
    steps = [ImportStep("app", "unchanged" if app.app_id in stored.apps else "created", app.app_id)]
    for environment in environments:
        whole_team = ImportedTopic(app.team_id, environment, "")
        this_bundle = whole_team._replace(bundle_id=app.bundle_id)
        held = stored.keys.get(this_bundle)
        if held is not None:
            steps.append(
                ImportStep(environment, "unchanged" if held == app.key_id else "replaced", app.bundle_id)
            )
        elif whole_team in stored.keys:
            same = stored.keys[whole_team] == app.key_id
            steps.append(
                ImportStep(environment, "unchanged", "")
                if same
                else ImportStep(environment, "added", app.bundle_id)
            )
        else:
            steps.append(ImportStep(environment, "added", ""))
    return steps


class Importer4D:
    """An import of folders for one publisher. Without `act`, it only reads."""

    def __init__(
        self,
        client: OperatorClient,
        publisher: UUID,
        environments: Sequence[Environment],
        *,
        act: bool = True,
    ) -> None:
        self._client = client
        self._publisher = str(publisher)
        self._environments = environments
        self._act = act

    async def run(self, directory: Path) -> list[FolderReport]:
        """Import every folder.

        Raises:
            OperatorError: the relay failed, or refused a request for another reason than its content.
        """
        folders = app_folders(directory)
        stored = await self._read_state()
        return [await self._import(folder, stored) for folder in folders]

    async def _read_state(self) -> RelayState:
        apps = {
            item["app_id"]: item["publisher_id"] async for item in self._client.list_items("operator/apps/")
        }
        keys = {
            ImportedTopic(item["team_id"], item["environment"], item["bundle_id"]): item["key_id"]
            async for item in self._client.list_items("operator/credentials/")
        }
        return RelayState(apps, keys)

    async def _import(self, folder: Path, stored: RelayState) -> FolderReport:
        report = FolderReport(folder.name)
        try:
            app = read_folder(folder)
            report.app_id = app.app_id
            for step in plan(app, stored, self._publisher, self._environments):
                if self._act and step.did != "unchanged":
                    await self._carry_out(step, app)
                report.steps.append(step)
                if step.what == "app":
                    stored.apps[app.app_id] = self._publisher
                elif step.did != "unchanged":
                    stored.keys[ImportedTopic(app.team_id, step.what, step.subject)] = app.key_id
        except FolderRefused as error:
            report.problem = str(error)
        except OperatorError as error:
            if error.status not in (409, 422):
                raise
            report.problem = str(error)
        return report

    async def _carry_out(self, step: ImportStep, app: AppFolder) -> None:
        if step.what == "app":
            body = {"publisher_id": self._publisher, "name": app.name, "app_id": app.app_id}
            await self._client.call("POST", "operator/apps/", body)
            return
        body = {"environment": step.what, "team_id": app.team_id, "key_id": app.key_id, "p8": app.p8}
        if step.subject:
            body["bundle_id"] = step.subject
        await self._client.call("POST", "operator/credentials/", body)


def reports_as_json(reports: Sequence[FolderReport]) -> Any:
    """Return the reports in plain values."""
    return msgspec.to_builtins(reports)


def print_reports(reports: Sequence[FolderReport], *, dry_run: bool) -> None:
    """Print the reports, and the next step for the operator."""
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
