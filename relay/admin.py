"""The commands of the store's operator and of publishers: they talk HTTP to a running relay."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from relay.admin_client import AdminClient, AdminError
from relay.admin_import import BadLine, Importer

T = TypeVar("T")

Url = Annotated[
    str, typer.Option("--url", envvar="PUSH_RELAY_URL", help="Where the relay listens.", show_default=True)
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="A file that holds the API token; else PUSH_RELAY_TOKEN is used."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Environment = Annotated[str, typer.Option("--environment", help="production or sandbox")]
AppId = Annotated[str, typer.Option("--app", help="The app identifier.")]

_URL = "http://127.0.0.1:8080"

admin_app = typer.Typer(no_args_is_help=True, help="Administration of a running relay.")
publisher_app = typer.Typer(no_args_is_help=True, help="Publishers (operator token).")
app_app = typer.Typer(no_args_is_help=True, help="Apps (operator token).")
credential_app = typer.Typer(no_args_is_help=True, help="Credentials for APNs (operator token).")
installation_app = typer.Typer(no_args_is_help=True, help="Installed copies (operator token).")
push_token_app = typer.Typer(no_args_is_help=True, help="Push tokens of an app (manage token).")
test_device_app = typer.Typer(no_args_is_help=True, help="Test devices (manage token).")
for _name, _typer in (
    ("publisher", publisher_app),
    ("app", app_app),
    ("credential", credential_app),
    ("installation", installation_app),
    ("push-token", push_token_app),
    ("test-device", test_device_app),
):
    admin_app.add_typer(_typer, name=_name)


def _token(token_file: Path | None) -> str:
    try:
        text = (
            token_file.read_text(encoding="utf-8") if token_file else os.environ.get("PUSH_RELAY_TOKEN", "")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise AdminError(f"The token file cannot be read: {type(error).__name__}.") from None
    token = text.strip()
    if not token:
        raise AdminError("No API token: set PUSH_RELAY_TOKEN, or give --token-file.")
    if not (token.isascii() and token.isprintable()):
        raise AdminError("The API token has characters that no token has.")
    return token


def _run(url: str, token_file: Path | None, work: Callable[[AdminClient], Awaitable[T]]) -> T:
    """Do `work` with a client; a refusal ends the command with its text and exit code 1."""

    async def session() -> T:
        async with AdminClient(url, _token(token_file)) as client:
            return await work(client)

    try:
        return asyncio.run(session())
    except AdminError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def _call(url: str, token_file: Path | None, as_json: bool, method: str, path: str, body: Any = None) -> None:
    _show(_run(url, token_file, lambda client: client.call(method, path, body)), as_json)


def _list(url: str, token_file: Path | None, as_json: bool, path: str) -> None:
    async def work(client: AdminClient) -> list[dict[str, Any]]:
        return [item async for item in client.every(path)]

    _show(_run(url, token_file, work), as_json)


def _show(result: Any, as_json: bool) -> None:
    """A table of a list, the fields of one thing, or nothing; all of it as JSON if asked."""
    if as_json:
        typer.echo(json.dumps(result))
    elif isinstance(result, dict):
        width = max(map(len, result))
        for name, value in result.items():
            typer.echo(f"{name.ljust(width)}  {_text(value)}")
    elif result:
        table = Table(*result[0])
        for item in result:
            table.add_row(*map(_text, item.values()))
        Console(soft_wrap=True, markup=False).print(table)  # names and labels are other people's text
    elif result is not None:
        typer.echo("There are none.")


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _pem(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"Error: {path} cannot be read as PEM: {type(error).__name__}.", err=True)
        raise typer.Exit(1) from None


@admin_app.command("audit")
def show_audit(
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries at most.")] = 100,
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show who did what, newest first: all of it to the operator, to a publisher (manage token) its own."""

    async def work(client: AdminClient) -> list[dict[str, Any]]:
        entries = []
        async for entry in client.every("audit/"):
            entries.append(entry)
            if len(entries) == last:
                break
        return entries

    entries = _run(url, token_file, work)
    if as_json or not entries:
        _show(entries, as_json)
        return
    for entry in entries:  # a table of so many ids would fit no terminal
        who = f"{entry['actor']} {entry['token_id'] or '-'}"
        typer.echo(
            f"{entry['at']}  {who}  {entry['action']}  {entry['subject']}  {json.dumps(entry['detail'])}"
        )


# --- publishers and apps ---


@publisher_app.command("create")
def create_publisher(name: str, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Create a publisher; prints its manage token, which is not shown again."""
    _call(url, token_file, as_json, "POST", "operator/publishers/", {"name": name})


@publisher_app.command("list")
def list_publishers(url: Url = _URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all publishers."""
    _list(url, token_file, as_json, "operator/publishers/")


@app_app.command("create")
def create_app(
    name: str,
    publisher: Annotated[UUID, typer.Option("--publisher", help="The publisher's id.")],
    app_id: Annotated[str | None, typer.Option("--app-id", help="Else a random one is made.")] = None,
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create an app of a publisher."""
    body = _without_none(publisher_id=str(publisher), name=name, app_id=app_id)
    _call(url, token_file, as_json, "POST", "operator/apps/", body)


@app_app.command("list")
def list_apps(url: Url = _URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all apps."""
    _list(url, token_file, as_json, "operator/apps/")


# --- credentials ---


@credential_app.command("add")
def add_credential(
    environment: Environment = "production",
    p8: Annotated[Path | None, typer.Option("--p8", help="Apple's AuthKey_….p8 file.")] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="A PEM file with certificate and key.")
    ] = None,
    key_id: Annotated[str | None, typer.Option("--key-id", help="Else from AuthKey_<key id>.p8.")] = None,
    team: Annotated[str | None, typer.Option("--team", help="Else from the certificate.")] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", help="For one bundle identifier only.")] = None,
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Add a credential, or replace that of the same team, environment and bundle."""
    if p8 is not None and key_id is None and p8.stem.startswith("AuthKey_"):
        key_id = p8.stem.removeprefix("AuthKey_")
    body = _without_none(
        environment=environment,
        team_id=team,
        bundle_id=bundle,
        key_id=key_id,
        p8=p8 and _pem(p8),
        certificate=certificate and _pem(certificate),
    )
    _call(url, token_file, as_json, "POST", "operator/credentials/", body)


@credential_app.command("list")
def list_credentials(url: Url = _URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all credentials and their state, without secrets."""
    _list(url, token_file, as_json, "operator/credentials/")


@credential_app.command("resume")
def resume_credential(
    credential: int, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Make a suspended credential active; what waited for it is sent."""
    _call(url, token_file, as_json, "POST", f"operator/credentials/{credential}/resume/")


@credential_app.command("remove")
def remove_credential(
    credential: int, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Remove a credential."""
    _call(url, token_file, as_json, "DELETE", f"operator/credentials/{credential}/")


# --- installations ---


@installation_app.command("put")
def put_installation(
    installation: UUID,
    app_id: AppId,
    customer: Annotated[str, typer.Option("--customer", help="The store's own reference.")],
    udid: Annotated[str, typer.Option("--udid")],
    bundle: Annotated[str, typer.Option("--bundle")],
    team: Annotated[str, typer.Option("--team")],
    alongside: Annotated[str, typer.Option("--alongside", help="Of a side-by-side copy.")] = "",
    environment: Annotated[str | None, typer.Option("--environment", help="production or sandbox")] = None,
    app_version: Annotated[str, typer.Option("--app-version")] = "",
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Enrol a copy of an app on a device; prints its install token."""
    body = _without_none(
        app_id=app_id,
        customer=customer,
        udid=udid,
        alongside=alongside,
        bundle_id=bundle,
        team_id=team,
        environment=environment,
        app_version=app_version,
    )
    _call(url, token_file, as_json, "PUT", f"operator/installations/{installation}/", body)


@installation_app.command("retire")
def retire_installation(
    installation: UUID, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Retire a copy: its device tokens and its install token."""
    _call(url, token_file, as_json, "DELETE", f"operator/installations/{installation}/")


@admin_app.command("import")
def import_installations(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where the install tokens go, as NDJSON.")] = None,
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Enrol all copies of an NDJSON file, a thousand a request. Run it again if it broke off."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[imported]:,} imported"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress, file.open("rb") as lines, _private(out) as tokens:
        task = progress.add_task("import", total=file.stat().st_size, imported=0)

        async def work(client: AdminClient) -> Importer:
            def report(line: BadLine) -> None:
                progress.console.print(
                    f"{file.name}:{line.number}: {line.why}", markup=False, highlight=False, soft_wrap=True
                )

            def advance(size: int) -> None:
                progress.update(task, advance=size, imported=importer.imported)

            importer = Importer(client, tokens, report, advance)
            await importer.run(lines)
            return importer

        importer = _run(url, token_file, work)
    _show({"imported": importer.imported, "bad_lines": importer.bad}, as_json)
    if importer.bad:
        raise typer.Exit(1)


def _private(path: Path | None) -> Any:
    """That file, to be read by its owner only: it holds credentials. Without a path nothing is written."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # not a pipe or a device: their mode is not ours
            os.fchmod(descriptor, 0o600)
        return descriptor

    return open(path or os.devnull, "w", encoding="utf-8", opener=opener)


# --- push tokens and test devices ---


@push_token_app.command("create")
def create_push_token(
    app_id: AppId,
    label: Annotated[str, typer.Option("--label")] = "",
    expires_at: Annotated[str | None, typer.Option("--expires-at", help="RFC 3339.")] = None,
    test_only: Annotated[bool, typer.Option("--test-only", help="Reaches test devices only.")] = False,
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create a push token of an app; it is not shown again."""
    body = _without_none(label=label, expires_at=expires_at, test_only=test_only)
    _call(url, token_file, as_json, "POST", f"apps/{quote(app_id, safe='')}/tokens/", body)


@push_token_app.command("list")
def list_push_tokens(
    app_id: AppId, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """List an app's push tokens that are not revoked."""
    _list(url, token_file, as_json, f"apps/{quote(app_id, safe='')}/tokens/")


@push_token_app.command("revoke")
def revoke_push_token(
    token_id: UUID, app_id: AppId, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Revoke a push token, by its id."""
    _call(url, token_file, as_json, "DELETE", f"apps/{quote(app_id, safe='')}/tokens/{token_id}/")


@test_device_app.command("add")
def add_test_device(
    udid: str,
    label: Annotated[str, typer.Option("--label")],
    failure_domain: Annotated[str, typer.Option("--failure-domain")] = "ok",
    url: Url = _URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List a device to test on."""
    body = {"udid": udid, "label": label, "failure_domain": failure_domain}
    _call(url, token_file, as_json, "POST", "test-devices/", body)


@test_device_app.command("list")
def list_test_devices(url: Url = _URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List the publisher's test devices."""
    _list(url, token_file, as_json, "test-devices/")


@test_device_app.command("remove")
def remove_test_device(
    test_device: UUID, url: Url = _URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Take a device off the list, by its id."""
    _call(url, token_file, as_json, "DELETE", f"test-devices/{test_device}/")
