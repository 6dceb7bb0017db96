"""What can go wrong when a test or a device talks to the stand-in itself (not to its APNs side).

Every error carries its own answer: the HTTP status and a code for the control API's problem document.
"""

from __future__ import annotations


class StandInError(Exception):
    """Base of all errors of the stand-in; `status` and `code` are what the control API answers."""

    status = 500
    code = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFoundError(StandInError):
    """The key, topic or device token named is not one the stand-in knows."""

    status = 404
    code = "not_found"


class ConflictError(StandInError):
    """What is asked contradicts what is registered, e.g. a bundle identifier of another team."""

    status = 409
    code = "conflict"


class InvalidError(StandInError):
    """An argument has not the form it must have."""

    status = 422
    code = "invalid"


class StateFileError(StandInError):
    """The state file can't be read, or is not one of ours."""

    code = "state_file"
