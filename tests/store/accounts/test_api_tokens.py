"""API tokens in the database: each kind has a type of its own, and a revocation is final."""

from __future__ import annotations

import secrets
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from relay.core.accounts import TokenKind
from relay.store.accounts.api_tokens import (
    ApiTokenRepository,
    ManageToken,
    NewToken,
    OperatorToken,
    PushToken,
    TokenFilter,
)
from relay.store.accounts.apps import App, AppRepository
from relay.store.accounts.console_sessions import SESSION_IDLE_LIMIT, ConsoleSessionRepository
from relay.store.accounts.publishers import Publisher, PublisherRepository
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database
from relay.store.operations.audit import COMMAND_LINE, ActorKind
from tests.api.front import Clock

PUBLISHER = uuid4()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tokens(database: Database, clock: Clock) -> ApiTokenRepository:
    tokens = ApiTokenRepository(database, clock, secrets.token_bytes)
    publisher = Publisher(PUBLISHER, "Ada", clock.now())
    first = tokens.generate_token(TokenKind.MANAGE)
    await PublisherRepository(database).create_publisher(publisher, first, COMMAND_LINE)
    await AppRepository(database).create_app(App("chess", PUBLISHER, "Chess", clock.now()), COMMAND_LINE)
    return tokens


async def test_each_kind_of_token_has_a_type(
    database: Database, clock: Clock, tokens: ApiTokenRepository
) -> None:
    expires_at = clock.now() + timedelta(days=1)
    sessions = ConsoleSessionRepository(database)
    for new, expected, actor_kind in (
        (
            NewToken(
                kind=TokenKind.PUSH,
                publisher_id=PUBLISHER,
                app_id="chess",
                broadcast=True,
                expires_at=expires_at,
            ),
            lambda token_id: PushToken(token_id, PUBLISHER, "chess", False, True, expires_at),
            ActorKind.PUBLISHER,
        ),
        (
            NewToken(kind=TokenKind.MANAGE, publisher_id=PUBLISHER),
            lambda token_id: ManageToken(token_id, PUBLISHER, None),
            ActorKind.PUBLISHER,
        ),
        (
            NewToken(kind=TokenKind.OPERATOR),
            lambda token_id: OperatorToken(token_id, None),
            ActorKind.OPERATOR,
        ),
    ):
        issued = await tokens.issue_token(new, COMMAND_LINE)
        token = await TokenCache(database, clock).authenticate_token(issued.text)
        assert token == expected(issued.token_id)
        assert token.kind is new.kind
        assert token.actor == (actor_kind, issued.token_id)
        await sessions.begin_session(f"session of {new.kind}", issued.token_id, clock.now())
        assert await sessions.find_session_token(f"session of {new.kind}", clock.now()) == token


async def test_a_session_ends_when_it_is_idle_or_its_token_is_revoked(
    database: Database, clock: Clock, tokens: ApiTokenRepository
) -> None:
    sessions = ConsoleSessionRepository(database)
    issued = await tokens.issue_token(NewToken(kind=TokenKind.OPERATOR), COMMAND_LINE)
    start = clock.now()
    for session_id in ("idle", "ended", "revoked"):
        await sessions.begin_session(session_id, issued.token_id, start)

    async def is_open(session_id: str, after: timedelta) -> bool:
        return await sessions.find_session_token(session_id, start + after) is not None

    hour = timedelta(hours=1)
    assert await is_open("revoked", SESSION_IDLE_LIMIT - hour), "and its last use is stored"
    assert await is_open("revoked", SESSION_IDLE_LIMIT + hour)
    assert not await is_open("idle", SESSION_IDLE_LIMIT + hour)
    await sessions.end_session("ended")
    assert not await is_open("ended", timedelta(0))
    await tokens.revoke_token(issued.token_id, COMMAND_LINE)
    assert not await is_open("revoked", SESSION_IDLE_LIMIT + hour)
    await sessions.delete_idle_sessions(start + SESSION_IDLE_LIMIT + hour)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM console_session") == 1


async def test_a_token_is_revoked_once(tokens: ApiTokenRepository) -> None:
    new = NewToken(kind=TokenKind.PUSH, publisher_id=PUBLISHER, app_id="chess", label="server")
    issued = await tokens.issue_token(new, COMMAND_LINE)
    assert not await tokens.revoke_push_token("poker", issued.token_id, COMMAND_LINE), "it is another app's"
    assert await tokens.revoke_push_token("chess", issued.token_id, COMMAND_LINE)
    assert not await tokens.revoke_push_token("chess", issued.token_id, COMMAND_LINE)
    assert not await tokens.revoke_token(issued.token_id, COMMAND_LINE)
    description = await tokens.find_token(issued.text)
    assert description is not None
    assert (description.kind, description.revoked_at is not None) == (TokenKind.PUSH, True)
    assert await tokens.find_token("push_unknown") is None


async def test_tokens_are_listed_by_a_filter(clock: Clock, tokens: ApiTokenRepository) -> None:
    push = NewToken(kind=TokenKind.PUSH, publisher_id=PUBLISHER, app_id="chess")
    first, second = [(await tokens.issue_token(push, COMMAND_LINE)).token_id for _ in range(2)]
    clock.advance(60)
    later = (await tokens.issue_token(push, COMMAND_LINE)).token_id
    await tokens.revoke_token(first, COMMAND_LINE)
    minute_ago = clock.now() - timedelta(seconds=30)
    for wanted, expected in (
        (TokenFilter(kind=TokenKind.PUSH), {second, later}),
        (TokenFilter(app_id="chess", revoked=True), {first, second, later}),
        (TokenFilter(app_id="chess", unused_since=minute_ago), {second}),
        (TokenFilter(app_id="poker"), set()),
        (TokenFilter(kind=TokenKind.MANAGE, publisher_id=uuid4()), set()),
    ):
        listed: set[UUID] = {token.token_id for token in await tokens.list_tokens(wanted, None, 10)}
        assert listed == expected, wanted
    assert {token.token_id for token in await tokens.list_push_tokens("chess", None, 10)} == {second, later}
    assert [token.token_id for token in await tokens.list_push_tokens("chess", second, 10)] == [later]
