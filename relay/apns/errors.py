"""Where exceptions of asyncio, ssl, the resolver and cryptography become reasons of ours; nowhere else."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import UnsupportedAlgorithm


class CannotSendError(Exception):
    """No push can leave with that credential now. `reason` becomes the `Answer.reason` of NOT_SENT.

    Reasons: BadCredential (the secret can't be used), NoFile (this machine can't write the file that a certificate has
    to be), ProviderTokenExpired (see `provider_token`), ConnectFailed, ConnectTimeout, TlsFailed (certificate, or no
    common protocol), NoHttp2 (the server didn't choose h2), Closed (the credential was forgotten meanwhile).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def connect_errors() -> Iterator[None]:
    """What can go wrong between a host name and an HTTP/2 connection, as CannotSendError."""
    try:
        yield
    except TimeoutError as error:
        raise CannotSendError("ConnectTimeout") from error
    except ssl.SSLError as error:  # before OSError, which it is one of
        raise CannotSendError("TlsFailed") from error
    except OSError as error:
        raise CannotSendError("ConnectFailed") from error


@contextmanager
def credential_errors() -> Iterator[None]:
    """What can go wrong with a key or certificate, as CannotSendError "BadCredential".

    The cause is dropped: its message could quote the secret. That this machine can't write a file is no fault of the
    credential: "NoFile".
    """
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm, ssl.SSLError):
        raise CannotSendError("BadCredential") from None
    except OSError:
        raise CannotSendError("NoFile") from None
