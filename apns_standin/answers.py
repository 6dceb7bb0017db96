"""Prescribed answers: what a device token answers in place of what APNs would answer.

A prescribed error comes before every check, so it answers requests without a valid credential too. A prescribed 200
(for its delay) leaves the checks as they are, and an accepted push is received.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from .errors import InvalidError
from .reasons import REASON_OF_STATUS, STATUS_OF_REASON

Fault = Literal["none", "no_body", "reset"]

MAX_DELAY_SECONDS: Final = 3600.0
MAX_BODY_CHARACTERS: Final = 1024 * 1024
HTTP2_INTERNAL_ERROR: Final = 2
"""Error code INTERNAL_ERROR (RFC 9113, 7)."""


class ScriptedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A prescribed answer.

    Attributes:
        status: HTTP status. None: the status of `reason`, or 200.
        reason: Apple's reason. None: the reason of `status`, if that status has only one.
        timestamp: epoch ms in the body. None: the time of the answer for a 410, else left out.
        delay: seconds before the answer is sent.
        times: number of times it is given. None: always.
        body: sent unchanged in place of the JSON. None: Apple's JSON.
        fault: "no_body" sends the headers only. "reset" sends RST_STREAM with `code` and no answer.
        code: HTTP/2 error code of a reset; INTERNAL_ERROR by default.
    """

    status: int | None = None
    reason: str | None = None
    timestamp: int | None = None
    delay: float = 0.0
    times: int | None = None
    body: str | None = None
    fault: Fault = "none"
    code: int = HTTP2_INTERNAL_ERROR


class ResolvedAnswer(msgspec.Struct, frozen=True):
    """A prescribed answer with its status and reason filled in. `reason` is None only without a JSON body."""

    script: ScriptedAnswer
    status: int
    reason: str | None


class Answers:
    """Prescribed answers by device token (lower-case hex)."""

    def __init__(self) -> None:
        self._answers: dict[str, ResolvedAnswer] = {}
        self._times_left: dict[str, int] = {}

    def set(self, device_token: str, script: ScriptedAnswer) -> None:
        """Prescribe an answer; it replaces an earlier one. Raises InvalidError."""
        self._answers[device_token] = resolve_answer(script)
        self._times_left.pop(device_token, None)
        if script.times is not None:
            self._times_left[device_token] = script.times

    def clear(self, device_token: str) -> None:
        """Remove the prescribed answer, if there is one."""
        self._answers.pop(device_token, None)
        self._times_left.pop(device_token, None)

    def take(self, device_token: str) -> ResolvedAnswer | None:
        """Return the prescribed answer for one request, or None, and count it as given."""
        answer = self._answers.get(device_token)
        if answer is not None and device_token in self._times_left:
            self._times_left[device_token] -= 1
            if not self._times_left[device_token]:
                self.clear(device_token)
        return answer


def resolve_answer(script: ScriptedAnswer) -> ResolvedAnswer:
    """Return the answer with its status and reason filled in. Raises InvalidError, which names the wrong field."""
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
    return ResolvedAnswer(script, status, reason)
