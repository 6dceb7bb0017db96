"""API tokens in memory: a revocation holds, and two nodes that write last uses do not wait for each other."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from relay.core.accounts import TokenKind
from relay.core.api_tokens import kind_of_token, make_token
from relay.core.errors import Unavailable
from relay.core.install_tokens import InstallClaims, InstallTokens
from relay.store.accounts.api_tokens import ApiTokenRepository, NewToken
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Connection, Database
from relay.store.operations.audit import COMMAND_LINE
from tests.api.front import Clock
from tests.eventually import eventually

OPERATOR = NewToken(kind=TokenKind.OPERATOR)


class _HeldUp(Database):
    """Gives each connection back only when told: what was read is old by then."""

    def __init__(self, database: Database) -> None:
        super().__init__(database._url, database._pool)
        self.read = asyncio.Event()
        self.go_on = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with super().connection() as connection:
            yield connection
        self.read.set()
        await self.go_on.wait()


async def test_what_was_read_before_a_revocation_is_not_remembered(database: Database) -> None:
    clock = Clock()
    issued = await ApiTokenRepository(database, clock, secrets.token_bytes).issue_token(
        OPERATOR, COMMAND_LINE
    )
    slow = _HeldUp(database)
    tokens = TokenCache(slow, clock)
    looking = asyncio.create_task(tokens.authenticate_token(issued.text))
    await slow.read.wait()
    async with database.connection() as connection:
        await connection.execute("UPDATE api_token SET revoked_at = now()")
    tokens.clear()
    slow.go_on.set()
    await looking
    assert await tokens.authenticate_token(issued.text) is None


async def test_last_uses_are_locked_in_the_order_of_their_ids(database: Database) -> None:
    clock = Clock()
    issuer = ApiTokenRepository(database, clock, secrets.token_bytes)
    issued = [await issuer.issue_token(OPERATOR, COMMAND_LINE) for _ in range(10)]
    first, *others = sorted(one.token_id for one in issued)
    tokens = TokenCache(database, clock)
    for one in sorted(issued, key=lambda one: one.token_id, reverse=True):
        await tokens.authenticate_token(one.text)
    async with database.transaction() as holder:
        # The row that is to be locked first comes last in the table, and last among the parameters.
        await holder.execute("UPDATE api_token SET label = 'moved' WHERE token_id = $1", first)
    async with database.connection() as watcher, database.connection() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM api_token WHERE token_id = $1 FOR UPDATE", first)
        writing = asyncio.create_task(tokens.write_last_used())
        await eventually(lambda: watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await watcher.execute("SELECT FROM api_token WHERE token_id = ANY($1) FOR UPDATE NOWAIT", others)
        await transaction.rollback()
        await writing
        assert await watcher.fetchval("SELECT count(last_used_at) FROM api_token") == len(issued)


async def test_last_uses_that_could_not_be_written_are_written_the_next_time(database: Database) -> None:
    clock = Clock()
    issued = await ApiTokenRepository(database, clock, secrets.token_bytes).issue_token(
        OPERATOR, COMMAND_LINE
    )
    tokens = TokenCache(database, clock)
    await tokens.authenticate_token(issued.text)
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE api_token RENAME TO elsewhere")
        with pytest.raises(Unavailable):
            await tokens.write_last_used()
        await connection.execute("ALTER TABLE elsewhere RENAME TO api_token")
        await tokens.write_last_used()
        assert await connection.fetchval("SELECT last_used_at FROM api_token") == clock.now()


async def test_no_token_is_kept_in_memory(database: Database) -> None:
    """Nor compared with what a caller sends: tokens are found by their digests."""
    clock = Clock()
    issued = await ApiTokenRepository(database, clock, secrets.token_bytes).issue_token(
        OPERATOR, COMMAND_LINE
    )
    tokens = TokenCache(database, clock)
    for _ in range(2):
        assert await tokens.authenticate_token(issued.text) is not None
    assert issued.text not in str(vars(tokens))
    assert str(issued.token_id) in str(vars(tokens)), "it was remembered"


def test_what_a_scanner_looks_for_is_what_we_make() -> None:
    """The expression of docs/design.md: it finds each kind of token in a text, and only our checksum passes."""
    design = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
    [expression] = re.findall(r"^    (\\b\(\?:push.*)$", design, re.MULTILINE)
    tokens = [make_token(kind, secrets.token_bytes(32)) for kind in TokenKind for _ in range(50)]
    claims = InstallClaims("chess", uuid4(), 7)
    tokens.append(InstallTokens(("a key of at least thirty-two characters",)).sign(claims))
    text = "".join(f'"token": "{token}", ' for token in tokens) + " push_token manage_apps operator_"
    assert [found[0] for found in re.finditer(expression, text)] == tokens
    changed = tokens[0][:-1] + ("A" if tokens[0][-1] != "A" else "B")
    assert (kind_of_token(tokens[0]), kind_of_token(changed)) == ("push", None)
