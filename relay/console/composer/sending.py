"""Sending of drafts, by the code that serves `/v1.0/send/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from relay.console.composer.remarks import Remark
from relay.console.composer.state import ComposerState
from relay.core.clock import Random
from relay.core.errors import RelayError
from relay.core.push.request import Accepted
from relay.service.sending import SendingServices

_KEY_BYTES = 16
_KEY_REUSED_CODE = "idempotency_key_reused"
_KEY_REUSED_TEXT = (
    "Another push was already sent from this page. Press the button again to send this one too."
)


class DraftSender:
    """The submission of drafts."""

    def __init__(self, services: SendingServices, random: Random) -> None:
        self._services = services
        self._random = random

    def create_key(self) -> str:
        """Return a new idempotency key for a form."""
        return self._random(_KEY_BYTES).hex()

    async def send_body(
        self, state: ComposerState, body: dict[str, Any], unreadable: Sequence[Remark]
    ) -> Accepted | None:
        """Send the body of a draft. If it is refused, note the reasons in `state` and return None.

        `unreadable` are the errors of form fields from which no body could be built.
        """
        if unreadable:
            state.status = 422
            return None
        services = self._services
        try:
            services.push_rates.count_request(state.token)
            # msgspec would refuse very large numbers and halves of surrogate pairs; validation reports them better.
            encoded = json.dumps(body).encode()
            key = services.digests.read_key([state.idempotency_key], state.token.token_id, encoded)
            return await services.submitter.submit(body, state.token, key, sent_by=state.visitor.publisher_id)
        except RelayError as error:
            state.add_refusal(error)
            if any(fault.code == _KEY_REUSED_CODE for fault in error.faults):
                state.idempotency_key = self.create_key()
                state.remarks = [Remark("", _KEY_REUSED_TEXT)]
        return None
