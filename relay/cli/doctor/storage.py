"""Checks of the database: its answers, version, schema, clock, connections, partitions and disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from relay.cli.doctor.findings import Finding, bad, good, warning
from relay.settings import Settings
from relay.store.database import Database
from relay.store.operations.inspection import SchemaState, ServerState
from relay.store.operations.inventory import Partition
from relay.store.partitions import PARTITIONED_TABLES

OLDEST_SERVER_VERSION = 140_000
"""The oldest PostgreSQL that the relay works with, as server_version_num."""
_SLOW_ANSWER_SECONDS = 0.05
"""Time for one trivial statement. Each commit takes at least as long."""
_CONNECTIONS_BESIDE_POOL = 2
"""Connections of a process besides its pool: one for notices, one that checks whether a hung server is back."""
_DAYS_AHEAD = 3
_GIB = 2**30


async def check_answer(database: Database, server: ServerState) -> Finding:
    """Check the version, the time to answer, and whether the database can be written."""
    started = time.perf_counter()
    await database.now()
    seconds = time.perf_counter() - started
    seen = {"version": server.version, "milliseconds": round(seconds * 1000, 1)}
    text = f"PostgreSQL {server.version} answers in {seconds * 1000:.1f} ms"
    if server.version_number < OLDEST_SERVER_VERSION:
        return bad("database", f"{text}; the relay needs 14 or newer", **seen)
    if server.read_only:
        return bad("database", f"{text}, but can only be read: is it a standby?", **seen)
    if server.fsync == "off":
        return bad(
            "database", f"{text}; fsync is off: accepted pushes are lost when its machine ends", **seen
        )
    if server.synchronous_commit == "off":
        return warning(
            "database",
            f"{text}; synchronous_commit is off: the last accepted pushes may be lost in a crash",
            **seen,
        )
    if seconds > _SLOW_ANSWER_SECONDS:
        return warning("database", f"{text}, which is slow: every commit takes as long at least", **seen)
    return good("database", text, **seen)


def check_schema(schema: SchemaState) -> Finding:
    """Check whether the migrations of this version are applied."""
    seen = {"applied": schema.applied, "pending": schema.pending, "unknown": schema.unknown}
    if schema.unknown:
        names = ", ".join(schema.unknown)
        return warning("migrations", f"a newer version has been at this database: {names}", **seen)
    if schema.pending:
        names = ", ".join(schema.pending)
        return warning("migrations", f"the next start of serve applies {names}", **seen)
    return good("migrations", f"all {schema.applied} are applied", **seen)


def check_clock(ahead: float, settings: Settings) -> Finding:
    """Check the clock. `ahead`: seconds by which this machine's clock is ahead of the database's."""
    limit = settings.dispatch.lease / 3
    text = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    seen = {"ahead_seconds": round(ahead, 3)}
    if abs(ahead) > limit:
        return bad("clock", f"{text}: beyond {limit:.0f} s pushes are sent twice. Is NTP running?", **seen)
    if abs(ahead) > limit / 5:
        return warning("clock", f"{text}: beyond {limit:.0f} s pushes are sent twice", **seen)
    return good("clock", text, **seen)


def check_connections(server: ServerState, settings: Settings, processes: int) -> Finding:
    """Check whether the server has room for the connections of `processes` with these settings."""
    most = processes * (settings.database.connections + _CONNECTIONS_BESIDE_POOL)
    room = server.max_connections - server.reserved
    text = (
        f"{server.in_use} of {room} are in use; {processes} process{'es' if processes > 1 else ''} "
        f"of these settings may take {most}"
    )
    seen = {"in_use": server.in_use, "room": room, "processes": processes, "most": most}
    if most > room:
        return bad("connections", f"{text}: raise max_connections, or lower database.connections", **seen)
    if server.in_use > 0.9 * room or most > 0.9 * room:
        return warning("connections", f"{text}: that is nearly all", **seen)
    return good("connections", text, **seen)


def check_partitions(
    partitions: Sequence[Partition], now: datetime, retention_days: int
) -> Iterator[Finding]:
    """Check that today and the next days have partitions, and that expired ones were dropped."""
    days: dict[str, list[date]] = {table: [] for table in PARTITIONED_TABLES}
    rows_outside = 0
    for partition in partitions:
        if partition.day is None:
            rows_outside += partition.rows
        else:
            days[partition.table].append(partition.day)
    today = now.date()
    ahead = min((max(dates, default=today - timedelta(days=1)) - today).days for dates in days.values())
    oldest = min((day for dates in days.values() for day in dates), default=today)
    seen = {"days_ahead": ahead, "oldest": oldest, "rows_in_default": rows_outside}
    if ahead < 0:
        yield bad(
            "partitions", "there is none for today: a relay that serves makes them every minute", **seen
        )
    elif ahead < _DAYS_AHEAD:
        yield warning(
            "partitions", f"made for {ahead} days ahead only: does upkeep fail? See the log", **seen
        )
    elif (today - oldest).days > retention_days + 1:
        yield warning(
            "partitions",
            f"the oldest is of {oldest}, older than {retention_days} days: push-relay vacuum drops it",
            **seen,
        )
    else:
        yield good("partitions", f"from {oldest} to {ahead} days ahead", **seen)
    if rows_outside:
        yield warning("partitions", f"about {rows_outside:,} rows are in no day's partition", **seen)


def check_disk(server: ServerState, settings: Settings, size: int) -> Finding:
    """Report the size of the database, and check the free space if its disk is in this machine."""
    text = f"the database has {size / _GIB:.1f} GiB"
    directory = server.data_directory or (None if settings.database.url else settings.database.embedded)
    if directory is None or not Path(directory).is_dir():
        return good("disk", f"{text}; its disk is not one of this machine's", database_bytes=size)
    disk = shutil.disk_usage(directory)
    seen = {"database_bytes": size, "free_bytes": disk.free, "disk_bytes": disk.total}
    text = f"{text}; {disk.free / _GIB:.1f} of {disk.total / _GIB:.1f} GiB are free on its disk"
    if disk.free < disk.total / 50 or disk.free < _GIB / 2:
        return bad("disk", f"{text}: nothing is accepted when it is full", **seen)
    if disk.free < disk.total / 10:
        return warning("disk", text, **seen)
    return good("disk", text, **seen)
