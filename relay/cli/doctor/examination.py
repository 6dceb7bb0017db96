"""The sequence of an examination. Checks that a failed check makes impossible are left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from relay.cli.doctor import storage
from relay.cli.doctor.apple import AppleCheck
from relay.cli.doctor.files import check_keys, check_settings
from relay.cli.doctor.findings import Finding, bad, warning
from relay.cli.session import require_database
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
class ExaminationRequest:
    """The subject of an examination.

    `file`: the file of the settings. `processes`: how many will run. `ask_apple`: whether to send a push to no device
    with each credential.
    """

    settings: Settings
    file: Path | None
    processes: int
    ask_apple: bool


async def examine(request: ExaminationRequest, clock: Clock) -> AsyncIterator[Finding]:
    """Yield findings as they come. Nothing is changed, created or migrated."""
    for finding in check_settings(request.settings, request.file):
        yield finding
    keys, finding = check_keys(request.settings)
    yield finding
    async with AsyncExitStack() as stack:
        try:
            require_database(request.settings)
            database = await open_database(request.settings, stack)
            async for finding in _examine_database(request, database, keys, clock):
                yield finding
        except RelayError as error:
            yield bad("database", error.detail)


async def _examine_database(
    request: ExaminationRequest, database: Database, keys: KeyRing | None, clock: Clock
) -> AsyncIterator[Finding]:
    settings = request.settings
    server = await InspectionRepository(database).inspect_server()
    yield await storage.check_answer(database, server)
    schema = await InspectionRepository(database).inspect_schema()
    yield storage.check_schema(schema)
    yield storage.check_clock(await _seconds_ahead(database, clock), settings)
    yield storage.check_connections(server, settings, request.processes)
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
        apple = AppleCheck(settings, clock, ask=request.ask_apple)
        async for finding in apple.examine_stored(Credentials(database, keys.credentials)):
            yield finding


async def _seconds_ahead(database: Database, clock: Clock) -> float:
    """Return the seconds by which this machine's clock is ahead of the database's.

    The request and its answer are assumed to take equally long.
    """
    before = clock.now()
    database_now = await database.now()
    after = clock.now()
    return (before + (after - before) / 2 - database_now).total_seconds()
