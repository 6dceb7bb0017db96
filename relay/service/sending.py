"""The services behind `/v1.0/send/` and `/v1.0/validate/`, built once for each node."""

from __future__ import annotations

from dataclasses import dataclass

from relay.core.idempotency import IdempotencyDigests
from relay.service.rate_limits import TokenRateLimit
from relay.service.submission import Submitter
from relay.service.validation import SendCheck


@dataclass(frozen=True, slots=True)
class SendingServices:
    """The way of a push into the queue, which the API, its fast path and the console share.

    `push_rates` and `validation_rates` limit the rates of pushes and of validations, each per API token.
    """

    check: SendCheck
    submitter: Submitter
    digests: IdempotencyDigests
    push_rates: TokenRateLimit
    validation_rates: TokenRateLimit
