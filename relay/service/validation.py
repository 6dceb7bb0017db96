"""Validation of the body of a push, for sending and for `/v1.0/validate/`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from relay.core.clock import Clock, Random
from relay.core.email_aliases import AddressDigests
from relay.core.errors import Fault, Forbidden, Invalid
from relay.core.identifiers import Identifiers
from relay.core.ids import PushId, new_uuid7
from relay.core.push.content import check_content
from relay.core.push.destinations import EVERYONE, DestinationCheck, check_destinations
from relay.core.push.headers import check_headers, check_token_kind
from relay.core.push.request import Lifetimes, PushRequest, SendBody
from relay.core.schema import convert
from relay.store.accounts.api_tokens import PushToken


class SendCheck:
    """The check that turns a body into a `PushRequest`. It reports all faults of a body at once."""

    def __init__(
        self,
        identifiers: Identifiers,
        address_digests: AddressDigests,
        lifetimes: Lifetimes,
        clock: Clock,
        random: Random,
    ) -> None:
        self._identifiers = identifiers
        self._address_digests = address_digests
        self._lifetimes = lifetimes
        self._clock = clock
        self._random = random

    async def check_push(self, value: Any, token: PushToken) -> PushRequest:
        """Return the push that `value` (decoded JSON) asks for. Yields to other tasks while it checks destinations.

        Raises:
            Forbidden: the push is for another app than `token`, or for all customers and `token` may not do that.
            Invalid: `value` is not a valid push.
        """
        for request in self._steps(value, token):
            if request is not None:
                return request
            await asyncio.sleep(0)
        raise AssertionError("the last step yields the push")

    def check_push_at_once(self, value: Any, token: PushToken) -> PushRequest | None:
        """Check without yielding. Returns None if there are too many destinations for that. Raises as `check_push`."""
        return next(self._steps(value, token))

    def _steps(self, value: Any, token: PushToken) -> Iterator[PushRequest | None]:
        """Yield None after each slice of destinations but the last, then the push."""
        body = convert(value, SendBody)
        if body.app_id != token.app_id:
            raise Forbidden(
                "This token is of another app.", [Fault("forbidden", "/app_id", "Not this token's app.")]
            )
        everyone = body.destinations == EVERYONE
        if everyone and not token.broadcast:
            detail = 'Only a token made with "broadcast": true may push to all.'
            raise Forbidden(detail, [Fault("forbidden", "/destinations", detail)])
        now = self._clock.now()
        faults: list[Fault] = []
        try:
            _, headers, expires_at = check_headers(body, now, self._lifetimes)
        except Invalid as error:
            faults.extend(error.faults)
        try:
            payload = check_content(body)
        except Invalid as error:
            faults.extend(error.faults)
        try:
            token_kind = check_token_kind(body)
        except Invalid as error:
            faults.extend(error.faults)
        try:
            destinations = {} if everyone else check_destinations(body.destinations)
            check = DestinationCheck(self._identifiers, self._address_digests, body.app_id, destinations)
            yield from check.slices()
            check.finish()
        except Invalid as error:
            faults.extend(error.faults)
        if faults:
            raise Invalid("Nothing was sent.", faults)
        yield PushRequest(
            app_id=body.app_id,
            push_id=PushId(new_uuid7(now, self._random)),
            token_id=token.token_id,
            accepted_at=now,
            expires_at=expires_at,
            headers=headers,
            token_kind=token_kind,
            payload=payload.encoded,
            debug=body.debug or token.test_only,
            customers=list(check.customers),
            devices=list(check.devices),
            addresses=list(check.addresses),
            places=check.places,
            everyone=everyone,
            warnings=list(payload.warnings),
        )
