"""Publishers, their apps and manage tokens, as the operator creates them in the API and the console."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from relay.core.accounts import TokenKind
from relay.core.clock import Clock, Random
from relay.core.ids import AppId, PublisherId, new_uuid7
from relay.store.accounts.api_tokens import ApiTokenRepository, IssuedToken, NewToken
from relay.store.accounts.apps import App, AppRepository
from relay.store.accounts.publishers import Publisher, PublisherRepository
from relay.store.database import Database
from relay.store.operations.audit import Actor

_APP_ID_BYTES = 20


class CreatedPublisher(NamedTuple):
    """A new publisher with its first manage token, which is shown once."""

    publisher: Publisher
    token: IssuedToken


class PublisherService:
    """Creation of publishers, apps and manage tokens."""

    def __init__(self, database: Database, clock: Clock, random: Random) -> None:
        self._publishers = PublisherRepository(database)
        self._apps = AppRepository(database)
        self._tokens = ApiTokenRepository(database, clock, random)
        self._clock = clock
        self._random = random

    async def create_publisher(self, name: str, actor: Actor) -> CreatedPublisher:
        """Store a publisher and its first manage token."""
        token = self._tokens.generate_token(TokenKind.MANAGE)
        publisher = Publisher(PublisherId(new_uuid7(token.created_at, self._random)), name, token.created_at)
        await self._publishers.create_publisher(publisher, token, actor)
        return CreatedPublisher(publisher, token)

    async def create_manage_token(self, publisher_id: UUID, actor: Actor, label: str = "") -> IssuedToken:
        """Store another manage token of an existing publisher."""
        return await self._tokens.issue_token(
            NewToken(kind=TokenKind.MANAGE, publisher_id=publisher_id, label=label), actor
        )

    async def create_app(self, publisher_id: UUID, name: str, app_id: str | None, actor: Actor) -> App | None:
        """Store an app of an existing publisher. Without `app_id` it gets a random one.

        Returns None if the `app_id` is taken.
        """
        app_id = app_id or self._random(_APP_ID_BYTES).hex()
        app = App(AppId(app_id), PublisherId(publisher_id), name, self._clock.now())
        return app if await self._apps.create_app(app, actor) else None
