"""Push tokens of an app, as its publisher manages them in the API and the console."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, NamedTuple
from uuid import UUID

import msgspec

from relay.core.accounts import TokenKind
from relay.core.clock import Clock, Random
from relay.core.errors import Conflict, Fault, Invalid, NotFound
from relay.core.schema import Label
from relay.store.accounts.api_tokens import (
    ApiTokenRepository,
    IssuedToken,
    ManageToken,
    NewToken,
    PushTokenDescription,
)
from relay.store.accounts.token_cache import TokenCache
from relay.store.database import Database


class PushTokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a new push token."""

    label: Label = ""
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    test_only: bool = False
    broadcast: bool = False


class CreatedPushToken(NamedTuple):
    """A new push token: its rights, and its text, which is shown once."""

    rights: NewToken
    issued: IssuedToken


class PushTokenService:
    """Creation, listing and revocation of push tokens. `token_cache` drops revoked tokens."""

    def __init__(self, database: Database, token_cache: TokenCache, clock: Clock, random: Random) -> None:
        self._tokens = ApiTokenRepository(database, clock, random)
        self._token_cache = token_cache
        self._clock = clock

    async def create_push_token(
        self, app_id: str, owner: ManageToken, body: PushTokenBody
    ) -> CreatedPushToken:
        """Store a new push token of `app_id`, which belongs to `owner`.

        Raises:
            Conflict: `expires_at` has passed.
            Invalid: `expires_at` does not exist in UTC.
        """
        expires_at = _in_utc(body.expires_at)
        if expires_at is not None and expires_at <= self._clock.now():
            raise Conflict(faults=[Fault("conflict", "/expires_at", "This time has passed.")])
        rights = NewToken(
            kind=TokenKind.PUSH,
            publisher_id=owner.publisher_id,
            app_id=app_id,
            label=body.label,
            test_only=body.test_only,
            broadcast=body.broadcast,
            expires_at=expires_at,
        )
        return CreatedPushToken(rights, await self._tokens.issue_token(rights, owner.actor))

    async def list_push_tokens(
        self, app_id: str, after: UUID | None, limit: int
    ) -> list[PushTokenDescription]:
        """Return up to `limit` push tokens of the app that follow `after` and are not revoked, oldest first."""
        return await self._tokens.list_push_tokens(app_id, after, limit)

    async def revoke_push_token(self, app_id: str, token_id: UUID, owner: ManageToken) -> None:
        """Revoke a push token of the app, on all nodes.

        Raises:
            NotFound: the app has no such token, or it is revoked already.
        """
        if not await self._tokens.revoke_push_token(app_id, token_id, owner.actor):
            raise NotFound("The app has no such token.")
        self._token_cache.drop_revoked()


def _in_utc(moment: datetime | None) -> datetime | None:
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:  # the first or the last hours of the calendar, in another zone
        raise Invalid(
            faults=[Fault("invalid_value", "/expires_at", "There is no such time in UTC.")]
        ) from None
