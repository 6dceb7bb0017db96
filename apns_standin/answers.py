"""Answers a test has prescribed for a device token, in place of what APNs would say.

A prescribed error comes before every check: the token answers it to anybody. A prescribed 200 (for its
delay) changes nothing about the checks, and what they accept is received as usual.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .errors import InvalidError
from .reasons import REASON_OF_STATUS, STATUS_OF_REASON

Fault = Literal["none", "no_body", "reset"]

MAX_DELAY_SECONDS = 3600.0
MAX_BODY_CHARACTERS = 1024 * 1024
HTTP2_INTERNAL_ERROR = 2


class ScriptedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One prescribed answer; `None` means "the usual".

    Attributes:
        status: HTTP status; by default the reason's, or 200.
        reason: Apple's reason; by default the status's, where it has but one.
        timestamp: epoch milliseconds in the body; a 410 without it gets the time of the answer.
        delay: seconds before the answer is sent.
        times: how often it is given; forever by default.
        body: sent as it stands in place of the JSON.
        fault: "no_body": the headers only. "reset": RST_STREAM with `code` and no answer at all.
        code: HTTP/2 error code of a reset; by default INTERNAL_ERROR.
    """

    status: int | None = None
    reason: str | None = None
    timestamp: int | None = None
    delay: float = 0.0
    times: int | None = None
    body: str | None = None
    fault: Fault = "none"
    code: int = HTTP2_INTERNAL_ERROR


class Resolved(msgspec.Struct, frozen=True):
    """A scripted answer with nothing left open; `reason` is None only when no JSON body is made of it."""

    script: ScriptedAnswer
    status: int
    reason: str | None


class Answers:
    """The prescribed answers by device token (lower-case hex)."""

    def __init__(self) -> None:
        self._answers: dict[str, Resolved] = {}
        self._left: dict[str, int] = {}

    def set(self, device_token: str, script: ScriptedAnswer) -> None:
        """Prescribe an answer, in place of any earlier one. Raises InvalidError."""
        self._answers[device_token] = resolve(script)
        self._left.pop(device_token, None)
        if script.times is not None:
            self._left[device_token] = script.times

    def clear(self, device_token: str) -> None:
        """Back to normal."""
        self._answers.pop(device_token, None)
        self._left.pop(device_token, None)

    def take(self, device_token: str) -> Resolved | None:
        """The answer for one request, counted as given."""
        answer = self._answers.get(device_token)
        if answer is not None and device_token in self._left:
            self._left[device_token] -= 1
            if not self._left[device_token]:
                self.clear(device_token)
        return answer


def resolve(script: ScriptedAnswer) -> Resolved:
    """Fill in status and reason. Raises InvalidError naming the field that can't be."""
    status, reason = script.status, script.reason
    if status is None:
        status = 200 if reason is None else STATUS_OF_REASON.get(reason)
        if status is None:
            raise InvalidError("status: needed with a reason that is not Apple's")
    if not 200 <= status <= 599:
        raise InvalidError("status: must be between 200 and 599")
    if not 0 <= script.delay <= MAX_DELAY_SECONDS:
        raise InvalidError(f"delay: must be between 0 and {MAX_DELAY_SECONDS:.0f} seconds")
    if script.times is not None and script.times < 1:
        raise InvalidError("times: must be at least 1")
    if script.body is not None and len(script.body) > MAX_BODY_CHARACTERS:
        raise InvalidError(f"body: at most {MAX_BODY_CHARACTERS} characters")
    if not 0 <= script.code < 2**32:
        raise InvalidError("code: must be an HTTP/2 error code, 32 bits")
    if reason is None and status != 200:
        reason = REASON_OF_STATUS.get(status)
        if reason is None and script.body is None and script.fault == "none":
            raise InvalidError(f"reason: needed with status {status}")
    return Resolved(script, status, reason)
