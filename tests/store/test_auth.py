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

from relay.core.errors import Unavailable
from relay.core.install_tokens import InstallClaims, InstallTokens
from relay.store.accounts.api_tokens import TokenIssuer
from relay.store.accounts.auth import KINDS, ApiTokens, NewToken, kind_of, make_token
from relay.store.database import Connection, Database
from relay.store.operations.audit import COMMAND_LINE
from tests.api.front import Clock
from tests.eventually import eventually

OPERATOR = NewToken(kind="operator")


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
    issued = await TokenIssuer(database, clock, secrets.token_bytes).issue(OPERATOR, COMMAND_LINE)
    slow = _HeldUp(database)
    tokens = ApiTokens(slow, clock)
    looking = asyncio.create_task(tokens.find(issued.text))
    await slow.read.wait()
    async with database.connection() as connection:
        await connection.execute("UPDATE api_token SET revoked_at = now()")
    tokens.forget()
    slow.go_on.set()
    await looking
    assert await tokens.find(issued.text) is None


async def test_last_uses_are_locked_in_the_order_of_their_ids(database: Database) -> None:
    clock = Clock()
    issuer = TokenIssuer(database, clock, secrets.token_bytes)
    issued = [await issuer.issue(OPERATOR, COMMAND_LINE) for _ in range(10)]
    first, *others = sorted(one.token_id for one in issued)
    tokens = ApiTokens(database, clock)
    for one in sorted(issued, key=lambda one: one.token_id, reverse=True):
        await tokens.find(one.text)
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
    issued = await TokenIssuer(database, clock, secrets.token_bytes).issue(OPERATOR, COMMAND_LINE)
    tokens = ApiTokens(database, clock)
    await tokens.find(issued.text)
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
    issued = await TokenIssuer(database, clock, secrets.token_bytes).issue(OPERATOR, COMMAND_LINE)
    tokens = ApiTokens(database, clock)
    for _ in range(2):
        assert await tokens.find(issued.text) is not None
    assert issued.text not in str(vars(tokens))
    assert str(issued.token_id) in str(vars(tokens)), "it was remembered"


def test_what_a_scanner_looks_for_is_what_we_make() -> None:
    """The expression of docs/design.md: it finds each kind of token in a text, and only our checksum passes."""
    design = (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8")
    [expression] = re.findall(r"^    (\\b\(\?:push.*)$", design, re.MULTILINE)
    tokens = [make_token(kind, secrets.token_bytes(32)) for kind in KINDS for _ in range(50)]
    claims = InstallClaims("chess", uuid4(), 7)
    tokens.append(InstallTokens(("a key of at least thirty-two characters",)).sign(claims))
    text = "".join(f'"token": "{token}", ' for token in tokens) + " push_token manage_apps operator_"
    assert [found[0] for found in re.finditer(expression, text)] == tokens
    changed = tokens[0][:-1] + ("A" if tokens[0][-1] != "A" else "B")
    assert (kind_of(tokens[0]), kind_of(changed)) == ("push", None)
