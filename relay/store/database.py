"""The connection pool, transactions, and the one place where asyncpg's exceptions are translated.

Every error of the database that may pass becomes `Unavailable`, which the API answers with 503 and which loops take as
"try again later". Errors that will not pass, such as a violated constraint, stay asyncpg's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import datetime
from typing import NamedTuple, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from relay.core.errors import Unavailable
from relay.telemetry.metrics import DATABASE_WAIT_SECONDS

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
)
"""Errors of the connection or of the client, which have no SQLSTATE."""
_TRANSIENT_SQLSTATES = ("08", "25006", "28", "3D000", "40", "53", "55", "57", "58")
"""Prefixes of the SQLSTATEs that may pass: no connection (08), read-only (25006), not let in (28, 3D000), a conflict
with another transaction (40), full (53), locked (55), cancelled or shutting down (57), a system error (58)."""
_MISSING_SCHEMA_SQLSTATES = ("42P01", "42703", "42704", "42883")
"""An unknown table, column, type or function: the schema of this version is not there yet."""
_CONFLICT_SQLSTATE = "40"
_DISK_FULL_SECONDS = 5.0
"""The disk counts as full for this time after a statement failed for it. Reads still work, so they prove nothing."""
_PROBE_TIMEOUT_SECONDS = 5.0
"""For a probe of a server that does not answer, and for releasing a connection whose statement was given up."""
_PROBE_PAUSE_SECONDS = 1.0
_READY_TIMEOUT_SECONDS = 2.0
_CLOSE_TIMEOUT_SECONDS = 5.0


class TransactionConflict(Unavailable):
    """A conflict with another transaction: a deadlock, or a serialization failure. A retry may succeed at once."""


class PoolUsage(NamedTuple):
    """Connections of a pool: in use, idle, and the most there may be."""

    in_use: int
    idle: int
    limit: int


class Database:
    """A pool of connections to the one PostgreSQL. `connect()` makes it.

    A server that hangs refuses no connection: its callers would all wait for their timeout. So after the first timeout
    a single connection beside the pool probes the server, and until it answers all callers get `Unavailable` at once.
    """

    def __init__(self, url: str, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._url = url
        self._pool = pool
        self._probe: asyncio.Task[None] | None = None
        self._disk_full_at: float | None = None

    @classmethod
    async def connect(
        cls, url: str, connections: int, *, connect_timeout: float = 5.0, statement_timeout: float = 15.0
    ) -> Database:
        """Return a pool of up to `connections` connections. The server may be away: using a connection shows that.

        `connect_timeout` and `statement_timeout` are seconds for a new connection and for a statement.

        Raises:
            Unavailable: The URL cannot be read.
        """
        pool = await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=connections,
            timeout=connect_timeout,
            command_timeout=statement_timeout,
            init=_prepare_connection,
            reset=_keep_settings,
        )
        try:
            async with pool.acquire():
                pass
        except (*_CONNECTION_ERRORS, asyncpg.PostgresError):
            pass
        except (ValueError, OverflowError):  # their texts quote the URL
            raise Unavailable("The URL of the database cannot be read.") from None
        return cls(url, pool)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Yield a connection for a few statements. Each commits by itself.

        Raises:
            Unavailable: The database is away, or an error occurred that may pass.
        """
        self._raise_while_probing()
        clock = asyncio.get_running_loop().time
        try:
            requested_at = clock()
            connection = await self._pool.acquire()
            DATABASE_WAIT_SECONDS.observe(clock() - requested_at)
            try:
                self._raise_while_probing()  # another caller may have met a timeout during the wait
                yield connection
            finally:
                await self._pool.release(connection, timeout=_PROBE_TIMEOUT_SECONDS)
        except (*_CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            if isinstance(error, TimeoutError) and self._probe is None:
                self._probe = asyncio.create_task(self._probe_server(), context=Context())
            if isinstance(error, asyncpg.DiskFullError):
                self._disk_full_at = clock()
            raise _translate_error(error) from None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Yield a connection inside a transaction: committed at the end, rolled back on any exception.

        Raises:
            Unavailable: The database is away, or an error occurred that may pass.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection

    @property
    def usage(self) -> PoolUsage:
        """The number of connections in use and idle, and the limit."""
        size, idle = self._pool.get_size(), self._pool.get_idle_size()
        return PoolUsage(size - idle, idle, self._pool.get_max_size())

    async def ready(self) -> None:
        """Check that the database answers within two seconds and can be written.

        Raises:
            Unavailable: It does not answer, is read-only, or its disk was full within the last five seconds.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS), self.connection() as connection:
                read_only = await connection.fetchval("SHOW transaction_read_only")
        except TimeoutError:
            raise Unavailable("The database does not answer.") from None
        if read_only == "on":
            raise Unavailable("The database is read-only.")
        now = asyncio.get_running_loop().time()
        if self._disk_full_at is not None and now - self._disk_full_at < _DISK_FULL_SECONDS:
            raise Unavailable("The disk of the database is full.")

    async def now(self) -> datetime:
        """Return the time of the database's clock.

        Raises:
            Unavailable: The database is away.
        """
        async with self.connection() as connection:
            moment: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return moment

    async def listen(self, channel: str, on_notice: Callable[[str], None]) -> None:
        """Call `on_notice` with the payload of each notice on `channel`, until cancelled.

        The first call has "": notices sent before the connection listened are lost, so anything may have happened.

        Raises:
            Unavailable: The connection ended.
        """
        ended = asyncio.Event()
        try:
            async with self._connect_beside_pool() as connection:
                connection.add_termination_listener(lambda *_: ended.set())
                await connection.add_listener(channel, lambda *notice: on_notice(str(notice[-1])))
                on_notice("")
                await ended.wait()
        except (*_CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            raise _translate_error(error) from None
        raise Unavailable("The connection that listens has ended.")

    async def close(self) -> None:
        """Close all connections. Those in use have five seconds to finish."""
        if self._probe is not None:
            self._probe.cancel()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def _raise_while_probing(self) -> None:
        if self._probe is not None:
            raise Unavailable("The database does not answer.")

    async def _probe_server(self) -> None:
        """Return when the server answers again."""
        try:
            while True:
                try:
                    async with self._connect_beside_pool() as connection:
                        await connection.execute("SELECT 1", timeout=_PROBE_TIMEOUT_SECONDS)
                    return
                except (*_CONNECTION_ERRORS, asyncpg.PostgresError):
                    await asyncio.sleep(_PROBE_PAUSE_SECONDS)
        finally:
            self._probe = None

    @asynccontextmanager
    async def _connect_beside_pool(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Yield a connection that is not the pool's. It is cut, not closed in order: its server may hang."""
        connection = await asyncpg.connect(self._url, timeout=_PROBE_TIMEOUT_SECONDS)
        try:
            yield connection
        finally:
            connection.terminate()


async def _prepare_connection(connection: Connection) -> None:
    # plan_cache_mode, jit: statements run thousands of times a second, and a plan with literals would be made for each.
    # idle_in_transaction_session_timeout, tcp_keepalives: a machine that vanishes in the middle of a transaction must
    # not keep its rows locked until TCP gives up.
    await connection.execute(
        "SET plan_cache_mode = force_generic_plan; SET jit = off; SET work_mem = '32MB';"
        "SET idle_in_transaction_session_timeout = '15s';"
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
    )


async def _keep_settings(connection: Connection) -> None:
    """Do nothing when a connection returns to the pool. asyncpg itself rolls back an open transaction.

    By default asyncpg would also send `RESET ALL` and more. That would undo `_prepare_connection` and cost a round
    trip, and no code here leaves anything behind that had to be reset.
    """


def _translate_error(error: Exception) -> Exception:
    """Return Unavailable for an error that may pass, and `error` itself for any other."""
    state = getattr(error, "sqlstate", None) or ""
    if state in _MISSING_SCHEMA_SQLSTATES:
        return Unavailable("The database does not have the schema of this version.")
    if not isinstance(error, _CONNECTION_ERRORS) and not state.startswith(_TRANSIENT_SQLSTATES):
        return error
    kind = TransactionConflict if state.startswith(_CONFLICT_SQLSTATE) else Unavailable
    return kind(f"The database is not available ({type(error).__name__}).")
