"""What an operator does on the relay's machine: doctor, status, queue, retire, vacuum. They need no token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from relay import settings as config
from relay.cli import tokens as token_commands
from relay.cli.credentials import credential_app
from relay.cli.local import HERE, ConfigFile, load_settings, with_database
from relay.cli.terminal import AppId, Json, progress, show_json, show_table

if TYPE_CHECKING:
    from relay.cli.doctor import Finding
    from relay.cli.doctor.examination import Wish
    from relay.cli.retire import Retirement
    from relay.cli.status import Status
    from relay.cli.vacuum import Swept
    from relay.settings import Settings
    from relay.store.database import Database
    from relay.store.installations.retiring import ActiveCopy
    from relay.store.key_rotation import Rotation
    from relay.store.operations.queue_state import AppQueue, QueueState

local_app = typer.Typer(no_args_is_help=True)
token_commands.add_to(local_app)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@local_app.command(rich_help_panel=HERE)
def doctor(
    config_file: ConfigFile = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that are to run, on all machines together.")
    ] = 1,
    ask_apple: Annotated[
        bool, typer.Option("--ask-apple", help="Send a push to no device under each credential.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Examine settings, keys, database, clock and the way to Apple. Ends with 1 if anything is bad (✗)."""
    from relay.cli.doctor import Finding, FindingState
    from relay.cli.doctor.examination import Wish

    def show(finding: Finding) -> None:
        if not as_json:
            typer.echo(f"{finding.state.sign} {finding.check.ljust(12)}  {finding.text}")

    try:
        wish = Wish(load_settings(config_file, log="error"), config_file, workers, ask_apple)
    except config.SettingsError as error:
        found = [Finding("settings", FindingState.BAD, str(error))]
        show(found[0])
    else:
        found = uvloop.run(_examine(wish, show))
    is_good = all(finding.state is not FindingState.BAD for finding in found)
    if as_json:
        show_json({"good": is_good, "findings": found})
    if not is_good:
        raise typer.Exit(1)


async def _examine(wish: Wish, show: Callable[[Finding], None]) -> list[Finding]:
    from relay.cli.doctor import examine
    from relay.node.clock import SystemClock

    found = []
    async for finding in examine(wish, SystemClock()):
        show(finding)
        found.append(finding)
    return found


@local_app.command(rich_help_panel=HERE)
def status(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Show nodes, queue, what happened in the last hour, suspended credentials, partitions and sizes."""
    from relay.cli.status import print_status, read_status

    async def work(settings: Settings, database: Database) -> Status:
        return await read_status(settings, database)

    found = with_database(config_file, work)
    if as_json:
        show_json(found)
    else:
        print_status(found)


@local_app.command(rich_help_panel=HERE)
def queue(
    app_id: Annotated[
        str | None, typer.Option("--app", help="What waits of this app, batch by batch.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=10_000, help="Batches of the app, at most.")] = 20,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show what waits: how much, since when, of which apps, and for which credentials."""
    if app_id is not None:
        _show_app_queue(app_id, last, config_file, as_json)
        return
    from relay.cli.status import print_queue
    from relay.store.operations.queue_state import QueueStateRepository

    async def work(_: Settings, database: Database) -> QueueState:
        return await QueueStateRepository(database).read_queue_state(await database.now())

    found = with_database(config_file, work)
    if as_json:
        show_json(found)
    else:
        print_queue(found)


def _show_app_queue(app_id: str, last: int, config_file: Path | None, as_json: bool) -> None:
    from relay.cli.status import print_app_queue, read_app_queue

    async def work(_: Settings, database: Database) -> tuple[datetime, AppQueue | None]:
        return await read_app_queue(database, app_id, last)

    now, found = with_database(config_file, work)
    if found is None:
        typer.echo("Error: there is no such app.", err=True)
        raise typer.Exit(1)
    if as_json:
        show_json(found)
    else:
        print_app_queue(found, now)


@local_app.command(rich_help_panel=HERE)
def retire(
    app_id: AppId,
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Customers (c_…), devices (d_… or c_…/d_…), or installation UUIDs."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All copies of the app.")] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config_file: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Retire copies of an app: of a customer, on a device, or one. They get nothing until they are enrolled again."""
    if bool(what) == everything:
        raise typer.BadParameter("name what is to be retired, or give --all")
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("give --yes as well, or --dry-run", param_hint="--json")
    subjects = [_subject(text) for text in what or ()]

    async def work(_: Settings, database: Database) -> tuple[int, list[ActiveCopy], int]:
        from relay.cli.retire import Retirement
        from relay.node.clock import SystemClock

        retirement = Retirement(database, app_id, subjects, SystemClock())
        count, copies = await retirement.look()
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


async def _retire(retirement: Retirement, count: int) -> int:
    columns = TextColumn("retired"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with progress(*columns) as bar:
        task = bar.add_task("retire", total=count)
        return await retirement.carry_out(lambda retired: bar.advance(task, retired))


def _subject(text: str) -> str | UUID:
    """A d_ says by itself whose it is, so what stands before it says nothing more."""
    identifier = text.rpartition("/")[2]
    if identifier.startswith(("c_", "d_")):
        return identifier
    try:
        return UUID(identifier)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no c_…, no d_… and no UUID") from None


def _show_copies(count: int, copies: list[ActiveCopy]) -> None:
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
    more = f", {len(rows)} of them shown" if count > len(rows) else ""
    show_table(f"Copies in use: {count:,}{more}", names if rows else (), rows)


@local_app.command(rich_help_panel=HERE)
def vacuum(dry_run: DryRun = False, config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Drop now what is past its time; relays that run do it by themselves, bit by bit."""

    async def work(settings: Settings, database: Database) -> Swept:
        from relay.cli.vacuum import Vacuum
        from relay.node.clock import SystemClock

        sweep = Vacuum(database, settings, min(SystemClock().now(), await database.now()))
        found = await sweep.look()
        if dry_run:
            return found
        columns = TextColumn("dropped"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with progress(*columns) as bar:
            task = bar.add_task("vacuum", total=sum(found.rows.values()) + len(found.partitions))
            return await sweep.sweep(lambda dropped: bar.advance(task, dropped))

    found = with_database(config_file, work)
    if as_json:
        show_json({"dry_run": dry_run, "swept": found})
    else:
        _show_swept(found, dry_run=dry_run)


def _show_swept(swept: Swept, *, dry_run: bool) -> None:
    from relay.cli.status import readable

    rows = [(table, f"{count:,}") for table, count in swept.rows.items() if count]
    rows += [
        (
            f"{len(swept.partitions)} partitions, {readable(swept.partition_bytes)}",
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


@credential_app.command("reencrypt")
def reencrypt(config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Encrypt what is stored with the newest key of keys.credentials. On the relay's machine; it takes no token."""

    async def work(settings: Settings, database: Database) -> tuple[Rotation, Rotation]:
        from relay.cli.local_tokens import reencrypt

        return await reencrypt(settings, database)

    of_apple, of_webhooks = with_database(config_file, work)
    if as_json:
        show_json({"credentials": of_apple, "webhooks": of_webhooks})
        return
    typer.echo(
        f"{of_apple.anew} of {of_apple.stored} credentials and {of_webhooks.anew} of {of_webhooks.stored} secrets of "
        "webhooks were encrypted anew; all are under the newest key of keys.credentials."
    )


credential_app.command("rotate-key", hidden=True)(reencrypt)  # its name in 0.1
