"""`push-relay status` and `push-relay queue`: how the relay is doing, all nodes together, as its database tells it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.cli.terminal import show_table
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
_LARGEST = 10
"""Tables that are shown."""
_PAGE = 1000
_FAILURES = (Outcome.FAILED, Outcome.UNREGISTERED, Outcome.EXPIRED)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often an outcome came, in the last five minutes and in the last hour."""

    outcome: str
    in_5_minutes: int
    in_1_hour: int

    @property
    def per_second(self) -> float:
        """In the last five minutes."""
        return self.in_5_minutes / _SHORT.total_seconds()


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many targets ended so for that reason in the last hour."""

    outcome: str
    reason: str
    in_1_hour: int


@dataclass(frozen=True, slots=True)
class Days:
    """The partitions of a table: how many days have one, and what is in none of them (estimated)."""

    table: str
    days: int
    oldest: str
    newest: str
    rows_in_default: int


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, at one moment by the database's clock."""

    at: datetime
    nodes: list[NodeState]
    queue: QueueState
    rates: list[Rate]
    failures: list[FailureCount]
    suspended: list[CredentialDescription]
    partitions: list[Days]
    database_bytes: int
    tables: list[TableSize]


async def read_status(settings: Settings, database: Database) -> Status:
    """Ask the database: a few statements of bounded cost. Raises Unavailable, SettingsError."""
    now = await database.now()
    counts = MinuteCountRepository(database)
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    hour = await counts.sum_counts(minute - _LONG, minute, 60)
    return Status(
        at=now,
        nodes=await NodeRepository(database).list_nodes(now),
        queue=await QueueStateRepository(database).read_queue_state(now),
        rates=rates(hour, minute - _SHORT),
        failures=failures(hour),
        suspended=[one async for one in _suspended(settings, database)],
        partitions=days(await InventoryRepository(database).list_partitions()),
        database_bytes=await InventoryRepository(database).measure_database_size(),
        tables=(await InventoryRepository(database).list_table_sizes())[:_LARGEST],
    )


async def _suspended(settings: Settings, database: Database) -> AsyncIterator[CredentialDescription]:
    credentials = Credentials(database, key_ring(settings.keys, make=False).credentials)
    after = 0
    while page := await credentials.page(after, _PAGE):
        for one in page:
            if one.state == CredentialState.SUSPENDED:
                yield one
        after = page[-1].credential_id


def rates(hour: Iterable[MinuteCount], short_since: datetime) -> list[Rate]:
    """By outcome, the sums of an hour's counts and of those from `short_since` on; the most frequent first."""
    long: defaultdict[str, int] = defaultdict(int)
    short: defaultdict[str, int] = defaultdict(int)
    for one in hour:
        long[one.outcome] += one.count
        if one.at >= short_since:
            short[one.outcome] += one.count
    return [Rate(outcome, short[outcome], count) for outcome, count in sorted(long.items(), key=_by_count)]


def failures(hour: Iterable[MinuteCount]) -> list[FailureCount]:
    """What did not arrive, by outcome and reason; the most frequent first."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for one in hour:
        if one.outcome in _FAILURES:
            sums[one.outcome, one.reason] += one.count
    return [FailureCount(*what, count) for what, count in sorted(sums.items(), key=_by_count)]


def _by_count(item: tuple[object, int]) -> int:
    return -item[1]


def days(parts: Iterable[Partition]) -> list[Days]:
    """What is known of each table's partitions."""
    found: defaultdict[str, list[Partition]] = defaultdict(list)
    for one in parts:
        found[one.table].append(one)
    shown = []
    for table, of_table in found.items():
        made = sorted(str(one.day) for one in of_table if one.day is not None)
        astray = sum(one.rows for one in of_table if one.day is None)
        shown.append(Days(table, len(made), made[0] if made else "", made[-1] if made else "", astray))
    return shown


def print_status(status: Status) -> None:
    """For people. Nothing to say of a thing leaves its table out."""
    _print_nodes(status.nodes, status.at)
    print_queue(status.queue)
    if status.rates:
        rows = [
            (one.outcome, f"{one.per_second:,.1f}", f"{one.in_5_minutes:,}", f"{one.in_1_hour:,}")
            for one in status.rates
        ]
        show_table("What happened", ("", "a second", "in 5 minutes", "in an hour"), rows)
    if status.failures:
        causes = [(one.outcome, one.reason or "–", f"{one.in_1_hour:,}") for one in status.failures]
        show_table("What did not arrive", ("", "reason", "in an hour"), causes)
    if status.suspended:
        held = [
            (
                one.credential_id,
                one.team_id,
                one.environment,
                one.bundle_id,
                one.state_reason,
                _when(one.state_since),
            )
            for one in status.suspended
        ]
        show_table("Suspended credentials", ("id", "team", "environment", "bundle", "reason", "since"), held)
    parts = [
        (one.table, one.days, one.oldest, one.newest, f"{one.rows_in_default:,}") for one in status.partitions
    ]
    show_table("Partitions", ("table", "days", "from", "to", "rows in none"), parts)
    sizes = [(one.name, f"{one.rows:,}", readable(one.bytes)) for one in status.tables]
    show_table(f"Database: {readable(status.database_bytes)}", ("table", "rows, about", "size"), sizes)


def _print_nodes(nodes: Sequence[NodeState], now: datetime) -> None:
    rows = [
        (
            one.host,
            one.process_id,
            one.version,
            "+".join(one.roles),
            _when(one.started_at),
            f"silent for {_age((now - one.seen_at).total_seconds())}" if one.is_silent(now) else "runs",
            f"{one.in_flight:,}",
            one.connections,
            one.streams,
            f"{one.clock_ahead:+.1f} s",
        )
        for one in nodes
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
    """The queue as a whole, the apps with the most in it, and what waits for a credential."""
    more = "at least " if queue.at_least else ""
    oldest = f"; the oldest has been due for {_age(queue.oldest_due_seconds)}" if queue.due_batches else ""
    rows = [
        (one.state, "to many" if one.bulk else "to few", f"{one.batches:,}", f"{one.installations:,}")
        for one in queue.by_state
    ]
    title = f"Queue: {more}{queue.batches:,} batches with {queue.installations:,} targets{oldest}"
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
            (one.app_id, f"{one.batches:,}", f"{one.installations:,}", _age(one.oldest_due_seconds))
            for one in queue.by_app
        ]
        show_table("By app, the longest queues", ("app", "batches", "targets", "oldest due"), apps)
    if queue.by_credential:
        held = [
            (one.credential_id or "one that does not exist yet", f"{one.batches:,}")
            for one in queue.by_credential
        ]
        show_table("Held by credentials", ("credential", "batches"), held)


async def read_app_queue(database: Database, app_id: str, limit: int) -> tuple[datetime, AppQueue | None]:
    """What waits of one app, and when that was. Raises Unavailable."""
    now = await database.now()
    return now, await QueueStateRepository(database).read_app_queue(app_id, now, limit)


def print_app_queue(queue: AppQueue, now: datetime) -> None:
    """The batches and broadcasts of an app, the oldest first."""
    rows = [
        (
            one.push_id,
            f"{one.installations:,}",
            one.attempt + 1,
            f"held by {one.held_by}" if one.state == "held" else one.state,
            _due((now - one.due_at).total_seconds()),
            one.last_reason,
        )
        for one in queue.batches
    ]
    names = ("push", "targets", "attempt", "", "due", "because of")
    show_table("Oldest batches" if rows else "No batch waits.", names if rows else (), rows)
    if queue.broadcasts:
        cut = [(one.push_id, f"{one.pieces:,}") for one in queue.broadcasts]
        show_table("Broadcasts to be cut", ("push", "batches so far"), cut)


def readable(size: float) -> str:
    """Bytes in a unit that suits them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _due(seconds: float) -> str:
    return f"{_age(seconds)} ago" if seconds >= 0 else f"in {_age(-seconds)}"


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
