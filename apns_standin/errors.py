"""Errors of the stand-in's operations and its control API (not of its APNs side).

Every error carries its own answer: the HTTP status and the code of the control API's problem document.
"""

from __future__ import annotations


class StandInError(Exception):
    """Base of all errors of the stand-in. The control API answers `status` and `code`."""

    status = 500
    code = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFoundError(StandInError):
    """An unknown key, topic, channel or device token."""

    status = 404
    code = "not_found"


class ConflictError(StandInError):
    """A contradiction to what is registered, e.g. a bundle identifier of another team."""

    status = 409
    code = "conflict"


class InvalidError(StandInError):
    """An argument of the wrong form."""

    status = 422
    code = "invalid"


class StateFileError(StandInError):
    """A state file that is unreadable or not of this stand-in."""

    code = "state_file"
