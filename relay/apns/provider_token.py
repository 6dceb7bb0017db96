"""The JWT of a key (Apple, "Establishing a token-based connection to APNs").

Apple refuses a token older than 60 minutes, and a key whose tokens change more often than every 20 minutes. So all
that use a key have the same token, on every connection, in every process and on every node, without asking each other:
it is issued at a full multiple of 45 minutes of epoch time, and its signature is deterministic (RFC 6979). It is
renewed out of step only when Apple called the current one expired (a clock may be wrong), and never within 20 minutes
of the last one. Until then it is tried again now and then: so young a token has not expired, and what made Apple say so
may have passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from aioapns.connection import AuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm
from jwt.utils import der_to_raw_signature

from relay.apns.errors import CannotSendError, credential_errors
from relay.telemetry.metrics import JWT_RENEWALS

RENEW_AFTER: Final = 45 * 60
"""Seconds of age at which a token is replaced."""
RENEW_AT_SOONEST: Final = 20 * 60
"""Seconds between two tokens of a key, at least."""
_GRID: Final = 5 * 60
"""Out of step, tokens are issued at multiples of this: nodes that renew one at about the same time make the same."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds without sending after a young token was called expired: the first time, doubling, and at most."""


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
        self._issued_at = 0.0
        self._held_until = 0.0
        self._expired = False
        self._pause = FIRST_PAUSE
        self._pause_ends = 0.0

    def __repr__(self) -> str:
        return f"<ProviderToken of key {self._key_id}>"

    def get_header(self) -> str:
        """The header's value, of a token Apple should accept.

        Raises CannotSendError "ProviderTokenExpired" if Apple has just called the token expired and it is too young
        to be replaced: sending must wait a little.
        """
        now = self._clock()
        age = now - self._issued_at
        step = now - now % RENEW_AFTER
        if not self._header or age < 0:  # the clock was set back: nothing can be said about the age
            self._issue(step)
        elif self._expired:
            if age >= RENEW_AT_SOONEST and now >= self._held_until:
                self._issue(now - now % _GRID)
            elif now < self._pause_ends:
                raise CannotSendError("ProviderTokenExpired")
            else:
                self._expired = False
        elif age >= RENEW_AFTER and now >= self._held_until:
            self._issue(step if step - self._issued_at >= RENEW_AT_SOONEST else now - now % _GRID)
        return self._header

    def invalidate(self, header: str) -> None:
        """Apple answered ExpiredProviderToken to a push with that header. Late answers to a former token
        change nothing."""
        if header != self._header or self._expired:
            return
        now = self._clock()
        recently = now - self._pause_ends < 2 * LONGEST_PAUSE
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if recently else FIRST_PAUSE
        self._pause_ends = now + self._pause
        self._expired = True

    def hold(self) -> None:
        """Apple answered TooManyProviderTokenUpdates: the present token stays for 20 minutes at least."""
        self._held_until = self._clock() + RENEW_AT_SOONEST

    def _issue(self, issued_at: float) -> None:
        self._issued_at = int(issued_at)
        claims = msgspec.json.encode({"iss": self._team_id, "iat": self._issued_at})
        token = _jws.encode(claims, self._key, algorithm="ES256", headers={"kid": self._key_id})
        JWT_RENEWALS.inc()
        self._header = f"bearer {token}"
        self._expired = False


class _DeterministicEs256(ECAlgorithm):
    """ES256 as PyJWT has it, but with the nonce of RFC 6979: the same claims are the same token."""

    def sign(self, msg: bytes, key: EllipticCurvePrivateKey) -> bytes:
        signature = key.sign(msg, ECDSA(SHA256(), deterministic_signing=True))
        return der_to_raw_signature(signature, key.curve)


_jws = PyJWS(algorithms=[])
_jws.register_algorithm("ES256", _DeterministicEs256(ECAlgorithm.SHA256))
