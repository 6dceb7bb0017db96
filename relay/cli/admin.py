"""The commands of the store's operator and of publishers, which send requests to a running relay."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import UUID

import typer

from relay.cli.credentials import credential_app
from relay.cli.options import API_PANEL, DEFAULT_URL, AppId, DryRun, Json, TokenFile, Url
from relay.cli.output import progress, show
from relay.cli.session import call_and_show, list_and_show, present_fields, run_with_client
from relay.core.accounts import Environment

if TYPE_CHECKING:
    from relay.cli.import_4d import FolderReport
    from relay.cli.imports import BadLine, Importer
    from relay.cli.operator_client import OperatorClient

admin_app = typer.Typer(no_args_is_help=True, help="Administration of a running relay.")
publisher_app = typer.Typer(no_args_is_help=True, help="Create and list publishers (operator token).")
app_app = typer.Typer(no_args_is_help=True, help="Create and list apps (operator token).")
installation_app = typer.Typer(
    no_args_is_help=True, help="Enrol and retire installed copies (operator token)."
)
push_token_app = typer.Typer(no_args_is_help=True, help="Manage the push tokens of an app (manage token).")
test_device_app = typer.Typer(no_args_is_help=True, help="Manage test devices (manage token).")
for _name, _typer in (
    ("publishers", publisher_app),
    ("apps", app_app),
    ("credentials", credential_app),
    ("installations", installation_app),
    ("push-tokens", push_token_app),
    ("test-devices", test_device_app),
):
    admin_app.add_typer(_typer, name=_name, rich_help_panel=API_PANEL)
    admin_app.add_typer(_typer, name=_name.removesuffix("s"), hidden=True)  # its name in 0.1


@admin_app.command("audit", rich_help_panel=API_PANEL)
def show_audit(
    last: Annotated[int, typer.Option("--last", min=1, help="Entries at most.")] = 100,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show the audit log, newest first. A manage token sees only its publisher's entries."""

    async def work(client: OperatorClient) -> list[dict[str, Any]]:
        entries = []
        async for entry in client.list_items("audit/"):
            entries.append(entry)
            if len(entries) == last:
                break
        return entries

    entries = run_with_client(url, token_file, work)
    if as_json or not entries:
        show(entries, as_json)
        return
    for entry in entries:  # ids make the lines too wide for a table
        actor = f"{entry['actor']} {entry['token_id'] or '-'}"
        typer.echo(
            f"{entry['at']}  {actor}  {entry['action']}  {entry['subject']}  {json.dumps(entry['detail'])}"
        )


# --- publishers and apps ---


@publisher_app.command("create")
def create_publisher(
    name: str, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Create a publisher and print its manage token, which is not shown again."""
    call_and_show(url, token_file, as_json, "POST", "operator/publishers/", {"name": name})


@publisher_app.command("list")
def list_publishers(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all publishers."""
    list_and_show(url, token_file, as_json, "operator/publishers/")


@app_app.command("create")
def create_app(
    name: str,
    publisher: Annotated[UUID, typer.Option("--publisher", help="Id of the publisher.")],
    app_id: Annotated[
        str | None, typer.Option("--app-id", help="App identifier. Default: a random one.")
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create an app of a publisher."""
    body = present_fields(publisher_id=str(publisher), name=name, app_id=app_id)
    call_and_show(url, token_file, as_json, "POST", "operator/apps/", body)


@app_app.command("list")
def list_apps(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List all apps."""
    list_and_show(url, token_file, as_json, "operator/apps/")


# --- installations ---


@installation_app.command("put")
def put_installation(
    installation: UUID,
    app_id: AppId,
    customer: Annotated[str, typer.Option("--customer", help="The store's reference of the customer.")],
    udid: Annotated[str, typer.Option("--udid", help="UDID of the device.")],
    bundle: Annotated[str, typer.Option("--bundle", help="Bundle identifier.")],
    team: Annotated[str, typer.Option("--team", help="Team that signed the copy.")],
    alongside: Annotated[str, typer.Option("--alongside", help="Name of a side-by-side copy.")] = "",
    environment: Annotated[str | None, typer.Option("--environment", help="production or sandbox.")] = None,
    app_version: Annotated[str, typer.Option("--app-version", help="Version of the app.")] = "",
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Enrol a copy of an app on a device, and print its install token."""
    body = present_fields(
        app_id=app_id,
        customer=customer,
        udid=udid,
        alongside=alongside,
        bundle_id=bundle,
        team_id=team,
        environment=environment,
        app_version=app_version,
    )
    call_and_show(url, token_file, as_json, "PUT", f"operator/installations/{installation}/", body)


@installation_app.command("retire")
def retire_installation(
    installation: UUID, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Retire a copy with its device tokens and its install token."""
    call_and_show(url, token_file, as_json, "DELETE", f"operator/installations/{installation}/")


@admin_app.command("import", rich_help_panel=API_PANEL)
def import_installations(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="NDJSON file, one copy a line.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="File for the install tokens (NDJSON).")] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Enrol all copies of an NDJSON file. If it stopped midway, run it again."""
    from relay.cli.imports import Importer

    with (
        progress("{task.fields[imported]:,} imported") as bar,
        file.open("rb") as lines,
        _open_private(out) as tokens,
    ):
        task = bar.add_task("import", total=file.stat().st_size, imported=0)

        async def work(client: OperatorClient) -> Importer:
            def report(line: BadLine) -> None:
                bar.console.print(
                    f"{file.name}:{line.number}: {line.reason}", markup=False, highlight=False, soft_wrap=True
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


@admin_app.command("import-4d", rich_help_panel=API_PANEL)
def import_mobile_apps(
    directory: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, readable=True, help="4D's MobileApps folder.")
    ],
    publisher: Annotated[UUID, typer.Option("--publisher", help="Id of the publisher who owns the apps.")],
    environments: Annotated[
        list[Environment] | None,
        typer.Option("--environment", help="production or sandbox. Default: both, as with 4D."),
    ] = None,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create an app and a credential for each folder of a 4D Mobile App Server.

    Running it again changes nothing that is up to date (operator token).
    """
    from relay.cli.import_4d import Importer4D, print_reports, reports_as_json

    async def work(client: OperatorClient) -> list[FolderReport]:
        importer = Importer4D(client, publisher, environments or list(Environment), act=not dry_run)
        return await importer.run(directory)

    reports = run_with_client(url, token_file, work)
    if as_json:
        show({"dry_run": dry_run, "folders": reports_as_json(reports)}, as_json)
    else:
        print_reports(reports, dry_run=dry_run)
    if not reports or any(report.problem for report in reports):
        raise typer.Exit(1)


def _open_private(path: Path | None) -> Any:
    """Open the file for install tokens, readable only by its owner. Without a path, nothing is written."""

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # the mode of a pipe or a device stays
            os.fchmod(descriptor, 0o600)
        return descriptor

    return open(path or os.devnull, "w", encoding="utf-8", opener=opener)


# --- push tokens and test devices ---


@push_token_app.command("create")
def create_push_token(
    app_id: AppId,
    label: Annotated[str, typer.Option("--label", help="What the token is for.")] = "",
    expires_at: Annotated[str | None, typer.Option("--expires-at", help="Time in RFC 3339.")] = None,
    test_only: Annotated[bool, typer.Option("--test-only", help="Send to test devices only.")] = False,
    broadcast: Annotated[bool, typer.Option("--broadcast", help="May send to all customers.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Create a push token of an app and print it. It is not shown again."""
    body = present_fields(label=label, expires_at=expires_at, test_only=test_only, broadcast=broadcast)
    call_and_show(url, token_file, as_json, "POST", f"apps/{quote(app_id, safe='')}/tokens/", body)


@push_token_app.command("list")
def list_push_tokens(
    app_id: AppId, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """List the push tokens of an app, without revoked ones."""
    list_and_show(url, token_file, as_json, f"apps/{quote(app_id, safe='')}/tokens/")


@push_token_app.command("revoke")
def revoke_push_token(
    token_id: UUID, app_id: AppId, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Revoke the push token with this id."""
    call_and_show(url, token_file, as_json, "DELETE", f"apps/{quote(app_id, safe='')}/tokens/{token_id}/")


@test_device_app.command("add")
def add_test_device(
    udid: str,
    label: Annotated[str, typer.Option("--label", help="Name of the device.")],
    failure_domain: Annotated[
        str, typer.Option("--failure-domain", help="Failure to simulate on it.")
    ] = "ok",
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Add a test device."""
    body = {"udid": udid, "label": label, "failure_domain": failure_domain}
    call_and_show(url, token_file, as_json, "POST", "test-devices/", body)


@test_device_app.command("list")
def list_test_devices(url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """List the publisher's test devices."""
    list_and_show(url, token_file, as_json, "test-devices/")


@test_device_app.command("remove")
def remove_test_device(
    test_device: UUID, url: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False
) -> None:
    """Remove the test device with this id."""
    call_and_show(url, token_file, as_json, "DELETE", f"test-devices/{test_device}/")
