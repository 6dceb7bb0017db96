"""Translation of exceptions of asyncio, ssl, the resolver and cryptography into reasons. No other module does it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import UnsupportedAlgorithm


class CannotSendError(Exception):
    """A reason why no push can leave with a credential now. `reason` becomes the `Answer.reason` of NOT_SENT.

    Reasons: BadCredential (the secret is unusable), NoFile (this machine cannot write the temporary file that OpenSSL
    needs for a certificate), ProviderTokenExpired (see `provider_token`), ConnectFailed, ConnectTimeout, TlsFailed
    (certificate, or no common protocol), NoHttp2 (the server did not choose h2), Closed (the connections of the
    credential were closed meanwhile).
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def connect_errors() -> Iterator[None]:
    """Translate errors between a host name and an HTTP/2 connection into CannotSendError."""
    try:
        yield
    except TimeoutError as error:
        raise CannotSendError("ConnectTimeout") from error
    except ssl.SSLError as error:  # before OSError, its base class
        raise CannotSendError("TlsFailed") from error
    except OSError as error:
        raise CannotSendError("ConnectFailed") from error


@contextmanager
def credential_errors() -> Iterator[None]:
    """Translate errors of a key or certificate into CannotSendError "BadCredential".

    The cause is dropped: its message could quote the secret. A file that cannot be written is no fault of the
    credential: "NoFile".
    """
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm, ssl.SSLError):
        raise CannotSendError("BadCredential") from None
    except OSError:
        raise CannotSendError("NoFile") from None
