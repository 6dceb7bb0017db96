"""The commands of the store's operator and of publishers: they talk HTTP to a running relay."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from relay.cli.credentials import credential_app
from relay.cli.imports import BadLine, Importer
from relay.cli.operator_client import AdminClient
from relay.cli.terminal import (
    OVER_API,
    URL,
    AppId,
    Json,
    TokenFile,
    Url,
    call,
    given,
    list_all,
    progress,
    run_with_client,
    show,
)

admin_app = typer.Typer(no_args_is_help=True, help="Administration of a running relay.")
publisher_app = typer.Typer(no_args_is_help=True, help="Publishers (operator token).")
app_app = typer.Typer(no_args_is_help=True, help="Apps (operator token).")
installation_app = typer.Typer(no_args_is_help=True, help="Installed copies (operator token).")
push_token_app = typer.Typer(no_args_is_help=True, help="Push tokens of an app (manage token).")
test_device_app = typer.Typer(no_args_is_help=True, help="Test devices (manage token).")
for _name, _typer in (
    ("publishers", publisher_app),
    ("apps", app_app),
    ("credentials", credential_app),
    ("installations", installation_app),
    ("push-tokens", push_token_app),
    ("test-devices", test_device_app),
):
    admin_app.add_typer(_typer, name=_name, rich_help_panel=OVER_API)
    admin_app.add_typer(_typer, name=_name.removesuffix("s"), hidden=True)  # its name in 0.1


@admin_app.command("audit", rich_help_panel=OVER_API)
def show_audit(
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries at most.")] = 100,
    url: Url = URL,
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

    entries = run_with_client(url, token_file, work)
    if as_json or not entries:
        show(entries, as_json)
        return
    for entry in entries:  # a table of so many ids would fit no terminal
        who = f"{entry['actor']} {entry['token_id'] or '-'}"
        typer.echo(
            f"{entry['at']}  {who}  {entry['action']}  {entry['subject']}  {json.dumps(entry['detail'])}"
        )


# --- publishers and apps ---


@publisher_app.command("create")
def create_publisher(name: str, url: Url = URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Create a publisher; prints its manage token, which is not shown again."""
    call(url, token_file, as_json, "POST", "operator/publishers/", {"name": name})


@publisher_app.command("list")
def list_publishers(url: Url = URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all publishers."""
    list_all(url, token_file, as_json, "operator/publishers/")


@app_app.command("create")
def create_app(
    name: str,
    publisher: Annotated[UUID, typer.Option("--publisher", help="The publisher's id.")],
    app_id: Annotated[str | None, typer.Option("--app-id", help="Else a random one is made.")] = None,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create an app of a publisher."""
    body = given(publisher_id=str(publisher), name=name, app_id=app_id)
    call(url, token_file, as_json, "POST", "operator/apps/", body)


@app_app.command("list")
def list_apps(url: Url = URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all apps."""
    list_all(url, token_file, as_json, "operator/apps/")


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
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Enrol a copy of an app on a device; prints its install token."""
    body = given(
        app_id=app_id,
        customer=customer,
        udid=udid,
        alongside=alongside,
        bundle_id=bundle,
        team_id=team,
        environment=environment,
        app_version=app_version,
    )
    call(url, token_file, as_json, "PUT", f"operator/installations/{installation}/", body)


@installation_app.command("retire")
def retire_installation(
    installation: UUID, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Retire a copy: its device tokens and its install token."""
    call(url, token_file, as_json, "DELETE", f"operator/installations/{installation}/")


@admin_app.command("import", rich_help_panel=OVER_API)
def import_installations(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where the install tokens go, as NDJSON.")] = None,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Enrol all copies of an NDJSON file, a thousand a request. Run it again if it broke off."""
    columns = (
        TextColumn("{task.fields[imported]:,} imported"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with progress(*columns) as bar, file.open("rb") as lines, _private(out) as tokens:
        task = bar.add_task("import", total=file.stat().st_size, imported=0)

        async def work(client: AdminClient) -> Importer:
            def report(line: BadLine) -> None:
                bar.console.print(
                    f"{file.name}:{line.number}: {line.why}", markup=False, highlight=False, soft_wrap=True
                )

            def advance(size: int) -> None:
                bar.update(task, advance=size, imported=importer.imported)

            importer = Importer(client, tokens, report, advance)
            await importer.run(lines)
            return importer

        importer = run_with_client(url, token_file, work)
    show({"imported": importer.imported, "bad_lines": importer.bad}, as_json)
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
    broadcast: Annotated[bool, typer.Option("--broadcast", help="May push to all customers.")] = False,
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create a push token of an app; it is not shown again."""
    body = given(label=label, expires_at=expires_at, test_only=test_only, broadcast=broadcast)
    call(url, token_file, as_json, "POST", f"apps/{quote(app_id, safe='')}/tokens/", body)


@push_token_app.command("list")
def list_push_tokens(
    app_id: AppId, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """List an app's push tokens that are not revoked."""
    list_all(url, token_file, as_json, f"apps/{quote(app_id, safe='')}/tokens/")


@push_token_app.command("revoke")
def revoke_push_token(
    token_id: UUID, app_id: AppId, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Revoke a push token, by its id."""
    call(url, token_file, as_json, "DELETE", f"apps/{quote(app_id, safe='')}/tokens/{token_id}/")


@test_device_app.command("add")
def add_test_device(
    udid: str,
    label: Annotated[str, typer.Option("--label")],
    failure_domain: Annotated[str, typer.Option("--failure-domain")] = "ok",
    url: Url = URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """List a device to test on."""
    body = {"udid": udid, "label": label, "failure_domain": failure_domain}
    call(url, token_file, as_json, "POST", "test-devices/", body)


@test_device_app.command("list")
def list_test_devices(url: Url = URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List the publisher's test devices."""
    list_all(url, token_file, as_json, "test-devices/")


@test_device_app.command("remove")
def remove_test_device(
    test_device: UUID, url: Url = URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Take a device off the list, by its id."""
    call(url, token_file, as_json, "DELETE", f"test-devices/{test_device}/")
