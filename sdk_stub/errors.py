"""Errors of the services framework, under the names of its documentation."""

from __future__ import annotations

from typing import NamedTuple


class ApiError(NamedTuple):
    """An error in the relay's answer: a stable code, the JSON pointer of the field, and a sentence."""

    code: str
    pointer: str
    detail: str


class ServicesError(Exception):
    """Base of the errors of the client's methods."""


class NotInstalledViaStore(ServicesError):
    """A copy that the store did not install, or has retired or replaced since."""


class ServiceNotAvailable(ServicesError):
    """A service that the store does not offer to this copy."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the service {service!r} is not available")
        self.service = service


class ApiErrors(ServicesError):
    """A refusal of the relay: the `errors` in its answer, and the HTTP `status`."""

    def __init__(self, status: int, errors: tuple[ApiError, ...]) -> None:
        super().__init__("; ".join(error.detail for error in errors) or f"status {status}")
        self.status = status
        self.errors = errors


class Unhandled(ServicesError):
    """An answer that a relay never gives."""


class Underlying(ServicesError):
    """A failure of the network. `error` is the exception it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error
