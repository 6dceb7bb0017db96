"""The operator's commands on the relay's machine: doctor, status, queue, retire, vacuum. They take no token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from relay.cli import tokens as token_commands
from relay.cli.options import LOCAL_PANEL, AppId, ConfigFile, DryRun, Json
from relay.cli.output import progress, show_json, show_table
from relay.cli.session import load_settings, with_database

if TYPE_CHECKING:
    from relay.cli.doctor import Finding
    from relay.cli.doctor.examination import ExaminationRequest
    from relay.cli.retire import CopyRetirement
    from relay.cli.status import Status
    from relay.cli.vacuum import SweptData
    from relay.settings import Settings
    from relay.store.database import Database
    from relay.store.installations.installations import ActiveInstallation
    from relay.store.operations.queue_state import AppQueue, QueueState

local_app = typer.Typer(no_args_is_help=True)
token_commands.add_to(local_app)


@local_app.command(rich_help_panel=LOCAL_PANEL)
def doctor(
    config_file: ConfigFile = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that will run, on all machines together.")
    ] = 1,
    ask_apple: Annotated[
        bool, typer.Option("--ask-apple", help="Let Apple check each credential, with a push to no device.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Examine settings, keys, database, clock, and the connection to Apple. Ends with 1 after a ✗."""
    import uvloop

    from relay.cli.doctor import Finding, FindingState
    from relay.cli.doctor.examination import ExaminationRequest
    from relay.settings import SettingsError

    def show(finding: Finding) -> None:
        if not as_json:
            typer.echo(f"{finding.state.sign} {finding.check.ljust(12)}  {finding.text}")

    try:
        settings = load_settings(config_file, log="error")
    except SettingsError as error:
        findings = [Finding("settings", FindingState.BAD, str(error))]
        show(findings[0])
    else:
        request = ExaminationRequest(settings, config_file, workers, ask_apple)
        findings = uvloop.run(_examine(request, show))
    is_good = all(finding.state is not FindingState.BAD for finding in findings)
    if as_json:
        show_json({"good": is_good, "findings": findings})
    if not is_good:
        raise typer.Exit(1)


async def _examine(request: ExaminationRequest, show: Callable[[Finding], None]) -> list[Finding]:
    from relay.cli.doctor import examine
    from relay.node.clock import SystemClock

    findings = []
    async for finding in examine(request, SystemClock()):
        show(finding)
        findings.append(finding)
    return findings


@local_app.command(rich_help_panel=LOCAL_PANEL)
def status(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show nodes, queue, the outcomes of the last hour, suspended credentials, partitions and sizes."""
    from relay.cli.status import print_status, read_status

    async def work(settings: Settings, database: Database) -> Status:
        return await read_status(settings, database)

    relay_status = with_database(config_file, work)
    if as_json:
        show_json(relay_status)
    else:
        print_status(relay_status)


@local_app.command(rich_help_panel=LOCAL_PANEL)
def queue(
    app_id: Annotated[str | None, typer.Option("--app", help="Show the batches of this app.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=10_000, help="Batches at most, with --app.")] = 20,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show the queue: its size and age, the apps in it, and the credentials that hold pushes."""
    if app_id is not None:
        _show_app_queue(app_id, last, config_file, as_json)
        return
    from relay.cli.status import print_queue
    from relay.store.operations.queue_state import QueueStateRepository

    async def work(_: Settings, database: Database) -> QueueState:
        return await QueueStateRepository(database).read_queue_state(await database.now())

    state = with_database(config_file, work)
    if as_json:
        show_json(state)
    else:
        print_queue(state)


def _show_app_queue(app_id: str, last: int, config_file: Path | None, as_json: bool) -> None:
    from relay.cli.status import print_app_queue, read_app_queue

    async def work(_: Settings, database: Database) -> tuple[datetime, AppQueue | None]:
        return await read_app_queue(database, app_id, last)

    now, app_queue = with_database(config_file, work)
    if app_queue is None:
        typer.echo("Error: there is no such app.", err=True)
        raise typer.Exit(1)
    if as_json:
        show_json(app_queue)
    else:
        print_app_queue(app_queue, now)


@local_app.command(rich_help_panel=LOCAL_PANEL)
def retire(
    app_id: AppId,
    subjects: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT", help="Customers (c_…), devices (d_… or c_…/d_…), or installation UUIDs."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Retire all copies of the app.")] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Stop sending to given copies of an app until they are enrolled again."""
    if bool(subjects) == everything:
        raise typer.BadParameter("name what is to be retired, or give --all")
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("give --yes as well, or --dry-run", param_hint="--json")
    parsed_subjects = [_parse_subject(text) for text in subjects or ()]

    async def work(_: Settings, database: Database) -> tuple[int, list[ActiveInstallation], int]:
        from relay.cli.retire import CopyRetirement
        from relay.node.clock import SystemClock

        retirement = CopyRetirement(database, app_id, parsed_subjects, SystemClock())
        count, copies = await retirement.find_copies()
        if not as_json:
            _show_copies(count, copies)
        if dry_run or not count or not (yes or typer.confirm(f"Retire {count:,}?", err=True)):
            return count, copies, 0
        return count, copies, await _retire(retirement, count)

    count, copies, retired = with_database(config_file, work)
    if as_json:
        show_json({"dry_run": dry_run, "found": count, "retired": retired, "copies": copies})
    elif retired or dry_run:
        typer.echo(f"{count:,} would be retired." if dry_run else f"{retired:,} were retired.")


async def _retire(retirement: CopyRetirement, count: int) -> int:
    with progress("retired") as bar:
        task = bar.add_task("retire", total=count)
        return await retirement.carry_out(lambda retired: bar.advance(task, retired))


def _parse_subject(text: str) -> str | UUID:
    """Return the identifier to retire. A d_ names its customer too, so a c_ before it adds nothing."""
    identifier = text.rpartition("/")[2]
    if identifier.startswith(("c_", "d_")):
        return identifier
    try:
        return UUID(identifier)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no c_…, no d_… and no UUID") from None


def _show_copies(count: int, copies: list[ActiveInstallation]) -> None:
    rows = [
        (
            copy.customer,
            copy.device,
            copy.alongside or "–",
            copy.app_version,
            copy.tokens,
            copy.installation_uuid,
        )
        for copy in copies
    ]
    names = ("customer", "device", "alongside", "version", "device tokens", "installation")
    note = f", {len(rows)} of them shown" if count > len(rows) else ""
    show_table(f"Copies in use: {count:,}{note}", names if rows else (), rows)


@local_app.command(rich_help_panel=LOCAL_PANEL)
def vacuum(dry_run: DryRun = False, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Delete expired data now. Running relays also do this themselves, in steps."""

    async def work(settings: Settings, database: Database) -> SweptData:
        from relay.cli.vacuum import Vacuum
        from relay.node.clock import SystemClock

        sweep = Vacuum(database, settings, min(SystemClock().now(), await database.now()))
        expired = await sweep.find_expired()
        if dry_run:
            return expired
        with progress("dropped") as bar:
            task = bar.add_task("vacuum", total=sum(expired.rows.values()) + len(expired.partitions))
            return await sweep.drop_expired(lambda dropped: bar.advance(task, dropped))

    swept = with_database(config_file, work)
    if as_json:
        show_json({"dry_run": dry_run, "swept": swept})
    else:
        _show_swept(swept, dry_run=dry_run)


def _show_swept(swept: SweptData, *, dry_run: bool) -> None:
    from relay.cli.status import format_bytes

    rows = [(table, f"{count:,}") for table, count in swept.rows.items() if count]
    rows += [
        (
            f"{len(swept.partitions)} partitions, {format_bytes(swept.partition_bytes)}",
            f"{swept.partition_rows:,}",
        )
        for _ in swept.partitions[:1]
    ]
    if rows:
        show_table("Would go" if dry_run else "Gone", ("table", "rows"), rows)
    else:
        typer.echo("There is nothing past its time.")
    if swept.left:
        typer.echo(f"Still in use, try again later: {', '.join(swept.left)}", err=True)
