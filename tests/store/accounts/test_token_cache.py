"""The cache of API tokens: revocations take effect, texts are not kept, and nodes do not lock each other out."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.core.accounts import TokenKind
from relay.core.errors import Unavailable
from relay.store.accounts.api_tokens import ApiTokenRepository, IssuedToken, NewToken
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Connection, Database
from relay.store.operations.audit import COMMAND_LINE
from tests.api.front import Clock
from tests.eventually import eventually

OPERATOR = NewToken(kind=TokenKind.OPERATOR)


class _SlowDatabase(Database):
    """A database that returns from a query only after `resume` is set, when what it read may be outdated."""

    def __init__(self, database: Database) -> None:
        super().__init__(database._url, database._pool)
        self.has_read = asyncio.Event()
        self.resume = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            yield connection
        self.has_read.set()
        await self.resume.wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(database: Database, clock: Clock) -> ApiTokenRepository:
    return ApiTokenRepository(database, clock, secrets.token_bytes)


@pytest.fixture
async def issued(tokens: ApiTokenRepository) -> IssuedToken:
    return await tokens.issue_token(OPERATOR, COMMAND_LINE)


async def test_a_row_read_before_a_revocation_is_not_kept(
    database: Database, clock: Clock, issued: IssuedToken
) -> None:
    slow = _SlowDatabase(database)
    cache = TokenCache(slow, clock)
    look_up = asyncio.create_task(cache.authenticate_token(issued.text))
    await slow.has_read.wait()
    async with database.connection() as connection:
        await connection.execute("UPDATE api_token SET revoked_at = now()")
    cache.clear()
    slow.resume.set()
    await look_up
    assert await cache.authenticate_token(issued.text) is None


async def test_a_token_is_cached_until_its_memory_ends(
    database: Database, clock: Clock, issued: IssuedToken
) -> None:
    announced: list[None] = []
    cache = TokenCache(database, clock, memory_seconds=2, announce=lambda: announced.append(None))
    assert cache.authenticate_cached_token(issued.text) is None, "a query would be needed"
    token = await cache.authenticate_token(issued.text)
    assert cache.authenticate_cached_token(issued.text) is token is not None
    clock.advance(2.5)
    assert cache.authenticate_cached_token(issued.text) is None, "the memory has ended"
    await cache.authenticate_token(issued.text)
    cache.drop_revoked()
    assert cache.authenticate_cached_token(issued.text) is None
    assert len(announced) == 1, "the other nodes are informed once"


async def test_last_uses_are_locked_in_the_order_of_their_ids(
    database: Database, clock: Clock, tokens: ApiTokenRepository
) -> None:
    issued = [await tokens.issue_token(OPERATOR, COMMAND_LINE) for _ in range(10)]
    first, *others = sorted(token.token_id for token in issued)
    cache = TokenCache(database, clock)
    for token in sorted(issued, key=lambda token: token.token_id, reverse=True):
        await cache.authenticate_token(token.text)
    async with database.transaction() as holder:
        # The row that must be locked first comes last in the table, and last among the parameters.
        await holder.execute("UPDATE api_token SET label = 'moved' WHERE token_id = $1", first)
    async with database.connection() as watcher, database.connection() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM api_token WHERE token_id = $1 FOR UPDATE", first)
        writing = asyncio.create_task(cache.write_last_used())
        await eventually(lambda: watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await watcher.execute("SELECT FROM api_token WHERE token_id = ANY($1) FOR UPDATE NOWAIT", others)
        await transaction.rollback()
        await writing
        assert await watcher.fetchval("SELECT count(last_used_at) FROM api_token") == len(issued)


async def test_last_uses_that_could_not_be_written_are_written_the_next_time(
    database: Database, clock: Clock, issued: IssuedToken
) -> None:
    cache = TokenCache(database, clock)
    await cache.authenticate_token(issued.text)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE api_token RENAME TO elsewhere")
        with pytest.raises(Unavailable):
            await cache.write_last_used()
        await connection.execute("ALTER TABLE elsewhere RENAME TO api_token")
        await cache.write_last_used()
        assert await connection.fetchval("SELECT last_used_at FROM api_token") == clock.now()


async def test_no_token_text_is_kept_in_memory(database: Database, clock: Clock, issued: IssuedToken) -> None:
    cache = TokenCache(database, clock)
    for _ in range(2):
        assert await cache.authenticate_token(issued.text) is not None
    assert issued.text not in str(vars(cache))
    assert str(issued.token_id) in str(vars(cache)), "the token itself is cached"
