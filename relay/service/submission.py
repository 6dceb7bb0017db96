"""Submission of pushes: a checked body goes to the intake, and a repeated Idempotency-Key gets its stored answer."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from relay.core.errors import RelayError, Unavailable
from relay.core.idempotency import IdempotencyKey
from relay.core.push.request import Accepted, Acceptor, PushRequest
from relay.service.validation import SendCheck
from relay.store.accounts.api_tokens import PushToken
from relay.store.push.idempotency_keys import IdempotencyKeyRepository
from relay.telemetry.logs import get_logger

_log = get_logger(__name__)


class Submitter:
    """The way in for pushes, shared by the API and the console."""

    def __init__(self, check: SendCheck, acceptor: Acceptor, keys: IdempotencyKeyRepository) -> None:
        self._check = check
        self._acceptor = acceptor
        self._keys = keys

    async def submit(
        self, body: Any, token: PushToken, key: IdempotencyKey | None, *, sent_by: UUID | None = None
    ) -> Accepted:
        """Check `body` (decoded JSON) and store the push. Returns once it is durable.

        With a `key` that was used before, returns the answer stored with that key. `sent_by` is the publisher that
        sends from the console.

        Raises:
            Forbidden: `token` may not send this push.
            Invalid: `body` is not a valid push.
            Unavailable: the push could not be stored.
        """
        try:
            request = await self._check.check_push(body, token)
            request.key, request.sent_by = key, sent_by
            accepted = await self._acceptor.accept(request)
        except RelayError as error:
            return await self.stored_answer_or_raise(error, token.app_id, key)
        if accepted is None:
            return await self.stored_answer_or_raise(None, token.app_id, key)
        log_accepted(request)
        return accepted

    async def stored_answer_or_raise(
        self, refused: RelayError | None, app_id: str, key: IdempotencyKey | None
    ) -> Accepted:
        """Return the answer stored with `key`, for a push that was not stored now.

        A push that was accepted once gets its first answer again, even if it would be refused by now.

        Raises:
            RelayError: `refused`, if no answer is stored with `key`.
            Unavailable: no answer is stored with `key`, and `refused` is None.
        """
        stored = None
        if key is not None:
            stored = await self._keys.find_stored_answer(app_id, key)
        if stored is None:
            gone = "The time of this Idempotency-Key ended just now; nothing was stored."
            raise refused or Unavailable(gone)
        return stored


def log_accepted(push: PushRequest) -> None:
    """Log an accepted push at level debug, with the ids of push, app and token."""
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug(
            "a push is accepted", push_id=str(push.push_id), app_id=push.app_id, token_id=str(push.token_id)
        )
