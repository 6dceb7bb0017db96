"""The JWT of a key (Apple, "Establishing a token-based connection to APNs").

Apple refuses a token older than 60 minutes, and a key whose tokens change more often than every 20 minutes.
So there is one `ProviderToken` per key, shared by all its connections: renewed at 45 minutes; renewed earlier
only when Apple called the current one expired (a clock may be wrong), and never within 20 minutes of the last
one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import jwt
from aioapns.connection import AuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.apns.errors import CannotSendError, credential_errors

RENEW_AFTER: Final = 45 * 60
"""Seconds of age at which a token is replaced."""
RENEW_AT_SOONEST: Final = 20 * 60
"""Seconds between two tokens of a key, at least."""


class ProviderToken(AuthorizationHeaderProvider):
    """Makes and keeps the `authorization` header of a key. `clock` gives epoch seconds.

    Raises CannotSendError "BadCredential" if `key` (PEM text) isn't a P-256 private key.
    """

    def __init__(self, key: str, key_id: str, team_id: str, clock: Callable[[], float]) -> None:
        with credential_errors():
            loaded = load_pem_private_key(key.encode(), password=None)
        if not isinstance(loaded, EllipticCurvePrivateKey) or not isinstance(loaded.curve, SECP256R1):
            raise CannotSendError("BadCredential")
        self._key = loaded
        self._key_id = key_id
        self._team_id = team_id
        self._clock = clock
        self._header = ""
        self._changed_at = 0.0
        self._expired = False

    def __repr__(self) -> str:
        return f"<ProviderToken of key {self._key_id}>"

    def get_header(self) -> str:
        """The header's value, of a token Apple should accept.

        Raises CannotSendError "ProviderTokenExpired" if Apple called the token expired and it is too young to
        be replaced: sending must wait, and a clock is probably wrong.
        """
        age = self._clock() - self._changed_at
        if not self._header or age < 0:  # the clock was set back: nothing can be said about the age
            self._renew()
        elif self._expired:
            if age < RENEW_AT_SOONEST:
                raise CannotSendError("ProviderTokenExpired")
            self._renew()
        elif age >= RENEW_AFTER:
            self._renew()
        return self._header

    def invalidate(self, header: str) -> None:
        """Apple answered ExpiredProviderToken to a push with that header. Late answers to a former token
        change nothing."""
        if header == self._header:
            self._expired = True

    def hold(self) -> None:
        """Apple answered TooManyProviderTokenUpdates: the present token stays for 20 minutes at least."""
        self._changed_at = max(self._changed_at, self._clock() - RENEW_AFTER + RENEW_AT_SOONEST)

    def _renew(self) -> None:
        issued_at = int(self._clock())
        token = jwt.encode(
            {"iss": self._team_id, "iat": issued_at},
            self._key,
            algorithm="ES256",
            headers={"kid": self._key_id},
        )
        self._header = f"bearer {token}"
        self._changed_at = issued_at
        self._expired = False
