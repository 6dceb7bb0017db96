"""The connection pool, the migrations, and the one place where asyncpg's exceptions are translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import NamedTuple, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from relay.core.errors import Unavailable
from relay.core.ids import push_id_floor
from relay.telemetry.metrics import DATABASE_WAIT_SECONDS

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_MIGRATION_LOCK = 0x70757368
"""Key of the advisory lock ("push"): one node migrates, the others wait."""
_MIGRATION_PATIENCE = 3600.0
"""Seconds for one migration, and for waiting while another node migrates."""
_TABLE_PATIENCE = "300ms"
"""What changing a table waits for those who use it. Meanwhile nobody else gets at it."""
PARTITIONED = ("push", "delivery", "trace")
"""The tables that have a partition for each day."""
_BY_PUSH = ("batch", "broadcast", "channel_push", "channel_delivery")
"""What goes together with the partitions of its time."""
_LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
)
"""What asyncpg raises when the connection or the client fails: try again later."""
_PASSING = ("08", "25006", "28", "3D000", "40", "53", "55", "57", "58")
"""How the SQLSTATE of what passes begins: no connection (08), read-only (25006), not let in (28, 3D000), lost against
another transaction (40), full (53), locked (55), cancelled or shutting down (57), broken (58)."""
_NO_SCHEMA = ("42P01", "42703", "42704", "42883")
"""An unknown table, column, type or function: the schema of this version has not been made yet."""
_CLASH = "40"
_FULL = 5.0
"""Seconds for which a disk counts as full after a statement found it so: what reads still works, and says nothing."""
_PATIENCE = 5.0
"""Seconds for a statement that was given up, and for the question whether a server answers again."""
_PAUSE = 1.0
"""Seconds before a server that did not answer is asked again."""


class TransactionConflict(Unavailable):
    """A transaction lost against another: a deadlock, or not serializable. Run again, it may go well at once."""


class PoolUsage(NamedTuple):
    """Connections of a pool: in use, idle, and how many there may be."""

    in_use: int
    idle: int
    limit: int


class Database:
    """A pool of connections to the one PostgreSQL. `connect()` makes one; `migrate()` brings the schema up.

    A server that hangs, which no refused connection tells, is asked by one connection of its own; until it answers
    that, nobody else waits for it.
    """

    def __init__(self, url: str, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._url = url
        self._pool = pool
        self._asking: asyncio.Task[None] | None = None
        self._full_at: float | None = None

    @classmethod
    async def connect(
        cls, url: str, connections: int, *, connect_timeout: float = 5.0, statement_timeout: float = 15.0
    ) -> Database:
        """A pool of up to `connections`. The server may be away: that is noticed when a connection is used.

        Seconds: a new connection has `connect_timeout`, and a statement `statement_timeout`; usual ones take a
        fraction of one. Raises Unavailable if the URL cannot be read.
        """
        pool = await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=connections,
            timeout=connect_timeout,
            command_timeout=statement_timeout,
            init=_init,
            reset=_reset,
        )
        try:
            async with pool.acquire():
                pass
        except (*_LOST, asyncpg.PostgresError):
            pass
        except (ValueError, OverflowError):  # their texts quote the URL
            raise Unavailable("The URL of the database cannot be read.") from None
        return cls(url, pool)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a few statements. Raises Unavailable when the database is away."""
        self._check_answers()
        clock = asyncio.get_running_loop().time
        try:
            asked_at = clock()
            connection = await self._pool.acquire()
            DATABASE_WAIT_SECONDS.observe(clock() - asked_at)
            try:
                self._check_answers()  # others may have found out meanwhile
                yield connection
            finally:
                await self._pool.release(connection, timeout=_PATIENCE)
        except (*_LOST, asyncpg.PostgresError) as error:
            if isinstance(error, TimeoutError) and self._asking is None:
                self._asking = asyncio.create_task(self._ask(), context=Context())
            if isinstance(error, asyncpg.DiskFullError):
                self._full_at = clock()
            raise _translated(error) from None

    @property
    def usage(self) -> PoolUsage:
        """What the pool has under way."""
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return PoolUsage(size - idle, idle, self._pool.get_max_size())

    def _check_answers(self) -> None:
        if self._asking is not None:
            raise Unavailable("The database does not answer.")

    async def _ask(self) -> None:
        """Returns when the server answers."""
        try:
            while True:
                try:
                    async with self._alone() as connection:
                        await connection.execute("SELECT 1", timeout=_PATIENCE)
                    return
                except (*_LOST, asyncpg.PostgresError):
                    await asyncio.sleep(_PAUSE)
        finally:
            self._asking = None

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection beside the pool. It is not closed in order: its server may hang."""
        connection = await asyncpg.connect(self._url, timeout=_PATIENCE)
        try:
            yield connection
        finally:
            connection.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection inside a transaction: committed at the end, rolled back on any exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def ready(self) -> None:
        """Raises Unavailable unless the database answers within two seconds, and can be written."""
        try:
            async with asyncio.timeout(2), self.connection() as connection:
                read_only = await connection.fetchval("SHOW transaction_read_only")
        except TimeoutError:
            raise Unavailable("The database does not answer.") from None
        if read_only == "on":
            raise Unavailable("The database is read-only.")
        if self._full_at is not None and asyncio.get_running_loop().time() - self._full_at < _FULL:
            raise Unavailable("The disk of the database is full.")

    async def now(self) -> datetime:
        """What time it is by the database's clock. Raises Unavailable."""
        async with self.connection() as connection:
            moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return moment

    async def listen(self, channel: str, hear: Callable[[str], None]) -> None:
        """Call `hear` with each notice on a channel, until cancelled. Raises Unavailable when the connection ends.

        `hear` is called with "" first: what was told before we listened is unknown.
        """
        ended = asyncio.Event()
        try:
            async with self._alone() as connection:
                connection.add_termination_listener(lambda *_: ended.set())
                await connection.add_listener(channel, lambda *notice: hear(str(notice[-1])))
                hear("")
                await ended.wait()
        except (*_LOST, asyncpg.PostgresError) as error:
            raise _translated(error) from None
        raise Unavailable("The connection that listens has ended.")

    async def close(self) -> None:
        """Close all connections, waiting for those in use at most five seconds."""
        if self._asking is not None:
            self._asking.cancel()
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def migrate(self) -> None:
        """Apply the migrations that this database lacks, in order, each in a transaction, under a lock."""
        async with self._locked(wait=True) as connection:
            assert connection is not None
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL)"
            )
            applied = {row["name"] for row in await connection.fetch("SELECT name FROM migration")}
            for name, sql in migrations():
                if name not in applied:
                    async with connection.transaction():
                        await connection.execute(sql, timeout=_MIGRATION_PATIENCE)
                        await connection.execute("INSERT INTO migration VALUES ($1, now())", name)

    async def keep_partitions(self, now: datetime, retention: timedelta, ahead: int = 7) -> None:
        """Make the daily partitions from today on, `ahead` days, and drop those older than `retention`.

        Nothing happens if another node is at it. Raises Unavailable, also for a table that somebody reads for long.
        """
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._locked(wait=False) as connection:
            if connection is None:
                return
            for table in PARTITIONED:
                for day in (today + timedelta(days=n) for n in range(ahead)):
                    try:
                        await connection.execute(_partition_sql(table, day))
                    except asyncpg.CheckViolationError:  # the default partition has rows of that day
                        await _move_out_of_default(connection, table, day)
            async with connection.transaction():
                await _drop_before(connection, today - retention)

    @asynccontextmanager
    async def _locked(self, *, wait: bool) -> AsyncIterator[Connection | None]:
        """A connection that holds the lock of the schema; None if another has it and is not to be waited for.

        A table that is read, by a backup for example, is not waited for either: whoever waits for a table holds up all
        others. If the lock cannot be given back, the connection ends, and so does the lock.
        """
        async with self.connection() as connection:
            try:
                if wait:
                    await connection.execute(
                        "SELECT pg_advisory_lock($1)", _MIGRATION_LOCK, timeout=_MIGRATION_PATIENCE
                    )
                elif not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _MIGRATION_LOCK):
                    yield None
                    return
                await connection.execute(f"SET lock_timeout = '{_TABLE_PATIENCE}'")
                yield connection
                await connection.execute("RESET lock_timeout")
                await connection.execute("SELECT pg_advisory_unlock($1)", _MIGRATION_LOCK)
            except BaseException:
                connection.terminate()
                raise


def migrations() -> list[tuple[str, str]]:
    """All migrations as (name, SQL), in their order."""
    files = resources.files("relay.store").joinpath("migrations").iterdir()
    return sorted(
        (file.name, file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".sql")
    )


def _partition_sql(table: str, day: datetime) -> str:
    low, high = push_id_floor(day), push_id_floor(day + timedelta(days=1))
    return (
        f'CREATE TABLE IF NOT EXISTS "{table}_{day:%Y%m%d}" PARTITION OF {table} '
        f"FOR VALUES FROM ('{low}') TO ('{high}')"
    )


async def _move_out_of_default(connection: Connection, table: str, day: datetime) -> None:
    """Make the partition of a day from what came before there was one."""
    low, high = push_id_floor(day), push_id_floor(day + timedelta(days=1))
    async with connection.transaction():
        await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_default")
        await connection.execute(_partition_sql(table, day))
        await connection.execute(
            f"WITH moved AS (DELETE FROM {table}_default WHERE push_id >= $1 AND push_id < $2 RETURNING *) "  # noqa: S608  the names are ours
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM moved",
            low,
            high,
        )
        await connection.execute(f"ALTER TABLE {table} ATTACH PARTITION {table}_default DEFAULT")


async def _drop_before(connection: Connection, day: datetime) -> None:
    """Drop what is older than that day. Batches whose push is gone would be claimed for ever, so they go too."""
    old = [
        name
        for table in PARTITIONED
        for name in await _partitions(connection, table)
        if name < f"{table}_{day:%Y%m%d}" and name.removeprefix(f"{table}_").isdigit()
    ]
    if not old:
        return
    for table in (*(f"{table}_default" for table in PARTITIONED), *_BY_PUSH):
        await connection.execute(f"DELETE FROM {table} WHERE push_id < $1", push_id_floor(day))  # noqa: S608
    for name in old:
        await connection.execute(f'DROP TABLE "{name}"')


async def _partitions(connection: Connection, table: str) -> list[str]:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = $1::text::regclass",
        table,
    )
    return [row["relname"] for row in rows]


async def _init(connection: Connection) -> None:
    # A plan with literals would be made anew for each call of a statement that runs thousands of times a second.
    # A machine that vanishes in the middle of a transaction must not keep its rows locked until TCP gives up.
    await connection.execute(
        "SET plan_cache_mode = force_generic_plan; SET jit = off; SET work_mem = '32MB';"
        "SET idle_in_transaction_session_timeout = '15s';"
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
    )


async def _reset(connection: Connection) -> None:
    """Nothing beside what asyncpg does without a query: an open transaction is rolled back.

    By default it would also send `RESET ALL`, and more, after each use. That undoes `_init`, and costs a round trip;
    nothing here leaves anything behind that would have to be reset.
    """


def _translated(error: Exception) -> Exception:
    """Unavailable for what may go well later; everything else, such as a violated constraint, as it is."""
    state = getattr(error, "sqlstate", None) or ""
    if state in _NO_SCHEMA:
        return Unavailable("The database does not have the schema of this version.")
    if not isinstance(error, _LOST) and not state.startswith(_PASSING):
        return error
    kind = TransactionConflict if state.startswith(_CLASH) else Unavailable
    return kind(f"The database is not available ({type(error).__name__}).")
