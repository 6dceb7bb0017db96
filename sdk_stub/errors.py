"""What can go wrong in the services framework, under the names its documentation uses."""

from __future__ import annotations

from typing import NamedTuple


class ApiError(NamedTuple):
    """One error the relay told: a stable code, the JSON pointer of the field, and a sentence."""

    code: str
    pointer: str
    detail: str


class ServicesError(Exception):
    """Base of the errors that every method of the client may raise."""


class NotInstalledViaStore(ServicesError):
    """This copy was not installed by the store, or the store has retired or replaced it since."""


class ServiceNotAvailable(ServicesError):
    """The store does not offer this service to this copy."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the service {service!r} is not available")
        self.service = service


class ApiErrors(ServicesError):
    """The relay refused the request; `errors` says why, `status` is the HTTP status."""

    def __init__(self, status: int, errors: tuple[ApiError, ...]) -> None:
        super().__init__("; ".join(error.detail for error in errors) or f"status {status}")
        self.status = status
        self.errors = errors


class Unhandled(ServicesError):
    """An answer that no relay gives."""


class Underlying(ServicesError):
    """The network failed; `error` is what it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(type(error).__name__)
        self.error = error
