"""`push-relay status` and `push-relay queue`: the state of the relay, of all nodes, from its database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.cli.output import show_table
from relay.core.accounts import CredentialState
from relay.core.delivery.outcomes import Outcome
from relay.keys import key_ring
from relay.settings import Settings
from relay.store.accounts.credentials import CredentialDescription, Credentials
from relay.store.database import Database
from relay.store.operations.inventory import InventoryRepository, Partition, TableSize
from relay.store.operations.minute_counts import MinuteCount, MinuteCountRepository
from relay.store.operations.nodes import NodeRepository, NodeState
from relay.store.operations.queue_state import AppQueue, QueueState, QueueStateRepository

_SHORT, _LONG = timedelta(minutes=5), timedelta(hours=1)
_MAX_SHOWN_TABLES = 10
_PAGE_SIZE = 1000
_FAILURES = (Outcome.FAILED, Outcome.UNREGISTERED, Outcome.EXPIRED)


@dataclass(frozen=True, slots=True)
class Rate:
    """The count of an outcome in the last five minutes and in the last hour."""

    outcome: str
    in_5_minutes: int
    in_1_hour: int

    @property
    def per_second(self) -> float:
        """The rate in the last five minutes."""
        return self.in_5_minutes / _SHORT.total_seconds()


@dataclass(frozen=True, slots=True)
class FailureCount:
    """The number of targets that ended with this outcome and reason in the last hour."""

    outcome: str
    reason: str
    in_1_hour: int


@dataclass(frozen=True, slots=True)
class PartitionDays:
    """The partitions of a table: their days, and the estimated rows outside of them."""

    table: str
    days: int
    oldest: str
    newest: str
    rows_in_default: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the relay at one moment by the database's clock."""

    at: datetime
    nodes: list[NodeState]
    queue: QueueState
    rates: list[Rate]
    failures: list[FailureCount]
    suspended: list[CredentialDescription]
    partitions: list[PartitionDays]
    database_bytes: int
    tables: list[TableSize]


async def read_status(settings: Settings, database: Database) -> Status:
    """Read the state with a few statements of bounded cost.

    Raises:
        Unavailable: the database does not answer.
        SettingsError: the keys cannot be read.
    """
    now = await database.now()
    counts, inventory = MinuteCountRepository(database), InventoryRepository(database)
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    hour = await counts.sum_counts(minute - _LONG, minute, 60)
    return Status(
        at=now,
        nodes=await NodeRepository(database).list_nodes(now),
        queue=await QueueStateRepository(database).read_queue_state(now),
        rates=rates(hour, minute - _SHORT),
        failures=failures(hour),
        suspended=[credential async for credential in _suspended(settings, database)],
        partitions=partition_days(await inventory.list_partitions()),
        database_bytes=await inventory.measure_database_size(),
        tables=(await inventory.list_table_sizes())[:_MAX_SHOWN_TABLES],
    )


async def _suspended(settings: Settings, database: Database) -> AsyncIterator[CredentialDescription]:
    credentials = Credentials(database, key_ring(settings.keys, make=False).credentials)
    after = 0
    while page := await credentials.page(after, _PAGE_SIZE):
        for credential in page:
            if credential.state == CredentialState.SUSPENDED:
                yield credential
        after = page[-1].credential_id


def rates(hour: Iterable[MinuteCount], short_since: datetime) -> list[Rate]:
    """Sum the counts of an hour, and those since `short_since`, by outcome; the most frequent outcome first."""
    in_hour: defaultdict[str, int] = defaultdict(int)
    in_short: defaultdict[str, int] = defaultdict(int)
    for minute in hour:
        in_hour[minute.outcome] += minute.count
        if minute.at >= short_since:
            in_short[minute.outcome] += minute.count
    by_count = sorted(in_hour.items(), key=_by_count)
    return [Rate(outcome, in_short[outcome], count) for outcome, count in by_count]


def failures(hour: Iterable[MinuteCount]) -> list[FailureCount]:
    """Sum the counts of failed targets by outcome and reason, the most frequent first."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for minute in hour:
        if minute.outcome in _FAILURES:
            sums[minute.outcome, minute.reason] += minute.count
    return [FailureCount(*key, count) for key, count in sorted(sums.items(), key=_by_count)]


def _by_count(item: tuple[object, int]) -> int:
    return -item[1]


def partition_days(parts: Iterable[Partition]) -> list[PartitionDays]:
    """Group the partitions by table."""
    by_table: defaultdict[str, list[Partition]] = defaultdict(list)
    for partition in parts:
        by_table[partition.table].append(partition)
    tables = []
    for table, of_table in by_table.items():
        days = sorted(str(partition.day) for partition in of_table if partition.day is not None)
        outside = sum(partition.rows for partition in of_table if partition.day is None)
        tables.append(
            PartitionDays(table, len(days), days[0] if days else "", days[-1] if days else "", outside)
        )
    return tables


def print_status(status: Status) -> None:
    """Print the state as tables, without empty ones."""
    _print_nodes(status.nodes, status.at)
    print_queue(status.queue)
    if status.rates:
        rows = [
            (rate.outcome, f"{rate.per_second:,.1f}", f"{rate.in_5_minutes:,}", f"{rate.in_1_hour:,}")
            for rate in status.rates
        ]
        show_table("What happened", ("", "a second", "in 5 minutes", "in an hour"), rows)
    if status.failures:
        failures = [
            (failure.outcome, failure.reason or "–", f"{failure.in_1_hour:,}") for failure in status.failures
        ]
        show_table("What did not arrive", ("", "reason", "in an hour"), failures)
    if status.suspended:
        suspended = [
            (
                credential.credential_id,
                credential.team_id,
                credential.environment,
                credential.bundle_id,
                credential.state_reason,
                _format_time(credential.state_since),
            )
            for credential in status.suspended
        ]
        show_table(
            "Suspended credentials", ("id", "team", "environment", "bundle", "reason", "since"), suspended
        )
    parts = [
        (table.table, table.days, table.oldest, table.newest, f"{table.rows_in_default:,}")
        for table in status.partitions
    ]
    show_table("Partitions", ("table", "days", "from", "to", "rows in none"), parts)
    sizes = [(table.name, f"{table.rows:,}", format_bytes(table.bytes)) for table in status.tables]
    show_table(f"Database: {format_bytes(status.database_bytes)}", ("table", "rows, about", "size"), sizes)


def _print_nodes(nodes: Sequence[NodeState], now: datetime) -> None:
    rows = [
        (
            node.host,
            node.process_id,
            node.version,
            "+".join(node.roles),
            _format_time(node.started_at),
            f"silent for {_format_age((now - node.seen_at).total_seconds())}"
            if node.is_silent(now)
            else "runs",
            f"{node.in_flight:,}",
            node.connections,
            node.streams,
            f"{node.clock_ahead:+.1f} s",
        )
        for node in nodes
    ]
    names = (
        "host",
        "process",
        "version",
        "roles",
        "started",
        "",
        "in flight",
        "connections",
        "streams",
        "clock",
    )
    show_table("Nodes" if rows else "Nodes: none was seen in the last hour", names if rows else (), rows)


def print_queue(queue: QueueState) -> None:
    """Print the whole queue, the apps with the longest queues, and the batches held by credentials."""
    at_least = "at least " if queue.at_least else ""
    oldest = (
        f"; the oldest has been due for {_format_age(queue.oldest_due_seconds)}" if queue.due_batches else ""
    )
    rows = [
        (entry.state, "to many" if entry.bulk else "to few", f"{entry.batches:,}", f"{entry.installations:,}")
        for entry in queue.by_state
    ]
    title = f"Queue: {at_least}{queue.batches:,} batches with {queue.installations:,} targets{oldest}"
    show_table(title, ("", "", "batches", "targets") if rows else (), rows)
    others = [
        (name, f"{count:,}")
        for name, count in (
            ("broadcasts to be cut", queue.broadcasts),
            ("pushes to channels", queue.channel_pushes),
            ("messages to webhooks", queue.webhook_events),
        )
        if count
    ]
    if others:
        show_table("Also waiting", ("", ""), others)
    if queue.by_app:
        apps = [
            (
                entry.app_id,
                f"{entry.batches:,}",
                f"{entry.installations:,}",
                _format_age(entry.oldest_due_seconds),
            )
            for entry in queue.by_app
        ]
        show_table("By app, the longest queues", ("app", "batches", "targets", "oldest due"), apps)
    if queue.by_credential:
        held = [
            (entry.credential_id or "one that does not exist yet", f"{entry.batches:,}")
            for entry in queue.by_credential
        ]
        show_table("Held by credentials", ("credential", "batches"), held)


async def read_app_queue(database: Database, app_id: str, limit: int) -> tuple[datetime, AppQueue | None]:
    """Return the time and the queue of an app, None if there is no such app. Raises Unavailable."""
    now = await database.now()
    return now, await QueueStateRepository(database).read_app_queue(app_id, now, limit)


def print_app_queue(queue: AppQueue, now: datetime) -> None:
    """Print the batches and broadcasts of an app, the oldest first."""
    rows = [
        (
            entry.push_id,
            f"{entry.installations:,}",
            entry.attempt + 1,
            f"held by {entry.held_by}" if entry.state == "held" else entry.state,
            _format_due((now - entry.due_at).total_seconds()),
            entry.last_reason,
        )
        for entry in queue.batches
    ]
    names = ("push", "targets", "attempt", "", "due", "because of")
    show_table("Oldest batches" if rows else "No batch waits.", names if rows else (), rows)
    if queue.broadcasts:
        cut = [(entry.push_id, f"{entry.pieces:,}") for entry in queue.broadcasts]
        show_table("Broadcasts to be cut", ("push", "batches so far"), cut)


def format_bytes(size: float) -> str:
    """Return a number of bytes in a unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _format_age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _format_due(seconds: float) -> str:
    return f"{_format_age(seconds)} ago" if seconds >= 0 else f"in {_format_age(-seconds)}"


def _format_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
