"""The course of an examination: what can't be looked at because of what was found before is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from relay.cli.doctor import storage
from relay.cli.doctor.apple import AppleCheck
from relay.cli.doctor.files import check_keys, check_settings
from relay.cli.doctor.findings import Finding, bad, warning
from relay.cli.local import require_database
from relay.core.clock import Clock
from relay.core.errors import RelayError
from relay.keys import KeyRing
from relay.node.database import open_database
from relay.settings import Settings
from relay.store.accounts.credentials import Credentials
from relay.store.database import Database
from relay.store.operations.inspection import InspectionRepository
from relay.store.operations.inventory import InventoryRepository
from relay.store.operations.nodes import NodeRepository


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be examined. `file`: where the settings are from. `processes`: so many are to run, `serve --workers`.

    `ask_apple`: send one push to no device under each credential.
    """

    settings: Settings
    file: Path | None
    processes: int
    ask_apple: bool


async def examine(wish: Wish, clock: Clock) -> AsyncIterator[Finding]:
    """Findings, as they are made. Nothing is changed, made or migrated. Raises nothing that a check can tell."""
    for finding in check_settings(wish.settings, wish.file):
        yield finding
    keys, finding = check_keys(wish.settings)
    yield finding
    async with AsyncExitStack() as stack:
        try:
            require_database(wish.settings)
            database = await open_database(wish.settings, stack)
            async for finding in _database(wish, database, keys, clock):
                yield finding
        except RelayError as error:
            yield bad("database", error.detail)


async def _database(
    wish: Wish, database: Database, keys: KeyRing | None, clock: Clock
) -> AsyncIterator[Finding]:
    settings = wish.settings
    server = await InspectionRepository(database).inspect_server()
    yield await storage.check_answer(database, server)
    schema = await InspectionRepository(database).inspect_schema()
    yield storage.check_schema(schema)
    yield storage.check_clock(await _ahead(database, clock), settings)
    yield storage.check_connections(server, settings, wish.processes)
    yield storage.check_disk(server, settings, await InventoryRepository(database).measure_database_size())
    if schema.applied == 0:
        return
    now = await database.now()
    for finding in storage.check_partitions(
        await InventoryRepository(database).list_partitions(), now, settings.retention_days
    ):
        yield finding
    if "0011_operating.sql" not in schema.pending:
        for node in await NodeRepository(database).list_nodes(now):
            if node.is_silent(now):
                silent = (now - node.seen_at).total_seconds()
                text = f"{node.host} (process {node.process_id}) did not end in order; heard of {silent:.0f} s ago"
                yield warning("nodes", text, node_id=node.node_id, seen_at=node.seen_at)
    if keys is not None:
        apple = AppleCheck(settings, clock, ask=wish.ask_apple)
        async for finding in apple.all_of(Credentials(database, keys.credentials)):
            yield finding


async def _ahead(database: Database, clock: Clock) -> float:
    """Seconds by which our clock is before the database's. What the question takes on its way is shared evenly."""
    before = clock.now()
    there = await database.now()
    after = clock.now()
    return (before + (after - before) / 2 - there).total_seconds()
