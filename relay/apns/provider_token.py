"""Provider token (JWT) of a key (Apple, "Establishing a token-based connection to APNs").

Apple refuses a token older than 60 minutes, and a key whose tokens change more often than every 20 minutes. So every
connection, process and node must use an equal token of a key, without communication: it is issued at a full multiple of
45 minutes of epoch time, and its signature is deterministic (RFC 6979). A token is renewed at another time only if
Apple called it expired (a clock may be wrong), and never within 20 minutes of its predecessor. Until then it is tried
again after pauses: a token that young has not expired, and the cause of Apple's answer may have passed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

import msgspec
from aioapns.connection import AuthorizationHeaderProvider
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.apns.errors import CannotSendError, credential_errors
from relay.telemetry.metrics import JWT_RENEWALS

RENEW_AFTER_SECONDS: Final = 45 * 60
"""Age at which a token is replaced."""
MIN_RENEWAL_SECONDS: Final = 20 * 60
"""Minimum time between two tokens of a key."""
_GRID_SECONDS: Final = 5 * 60
"""Early renewals are issued at multiples of this, so that nodes which renew at about one time issue equal tokens."""
FIRST_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 60.0
"""Pause in sending after Apple called a young token expired. It doubles from the first to the maximum."""


class ProviderToken(AuthorizationHeaderProvider):
    """The `authorization` header of a key, renewed as needed. `clock` returns epoch seconds.

    Raises CannotSendError "BadCredential" if `key` (PEM text) is no P-256 private key.
    """

    def __init__(self, key: str, key_id: str, team_id: str, clock: Callable[[], float]) -> None:
        with credential_errors():
            private_key = load_pem_private_key(key.encode(), password=None)
        if not isinstance(private_key, EllipticCurvePrivateKey) or not isinstance(
            private_key.curve, SECP256R1
        ):
            raise CannotSendError("BadCredential")
        self._key = private_key
        self._key_id = key_id
        self._encoded_head = _base64url(msgspec.json.encode({"alg": "ES256", "kid": key_id, "typ": "JWT"}))
        self._team_id = team_id
        self._clock = clock
        self._header = ""
        self._issued_at = 0.0
        self._held_until = 0.0
        self._expired = False
        self._pause = FIRST_PAUSE_SECONDS
        self._pause_ends = 0.0

    def __repr__(self) -> str:
        return f"<ProviderToken of key {self._key_id}>"

    def get_header(self) -> str:
        """Return the header's value, with a token that Apple should accept.

        Raises CannotSendError "ProviderTokenExpired" if Apple has called the token expired and it is too young to be
        replaced: sending must pause.
        """
        now = self._clock()
        age = now - self._issued_at
        step = now - now % RENEW_AFTER_SECONDS
        if not self._header or age < 0:  # the clock was set back: the age is unknown
            self._issue(step)
        elif self._expired:
            if age >= MIN_RENEWAL_SECONDS and now >= self._held_until:
                self._issue(now - now % _GRID_SECONDS)
            elif now < self._pause_ends:
                raise CannotSendError("ProviderTokenExpired")
            else:
                self._expired = False
        elif age >= RENEW_AFTER_SECONDS and now >= self._held_until:
            self._issue(step if step - self._issued_at >= MIN_RENEWAL_SECONDS else now - now % _GRID_SECONDS)
        return self._header

    @property
    def is_restricted(self) -> bool:
        """Whether Apple called the token expired, or asked for no new one: to be remembered for a while."""
        return self._expired or self._clock() < self._held_until

    def invalidate(self, header: str) -> None:
        """Note the answer ExpiredProviderToken to a push with that header. Answers to a former token change nothing."""
        if header != self._header or self._expired:
            return
        now = self._clock()
        recently = now - self._pause_ends < 2 * MAX_PAUSE_SECONDS
        self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS) if recently else FIRST_PAUSE_SECONDS
        self._pause_ends = now + self._pause
        self._expired = True

    def hold(self) -> None:
        """Keep the present token for at least 20 minutes, after the answer TooManyProviderTokenUpdates."""
        self._held_until = self._clock() + MIN_RENEWAL_SECONDS

    def _issue(self, issued_at: float) -> None:
        self._issued_at = int(issued_at)
        claims = msgspec.json.encode({"iss": self._team_id, "iat": self._issued_at})
        signed = f"{self._encoded_head}.{_base64url(claims)}"
        # Deterministic (RFC 6979): the same claims are the same token, in every process.
        der = self._key.sign(signed.encode("ascii"), ECDSA(SHA256(), deterministic_signing=True))
        r, s = decode_dss_signature(der)
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        JWT_RENEWALS.inc()
        self._header = f"bearer {signed}.{_base64url(signature)}"
        self._expired = False


def _base64url(octets: bytes) -> str:
    """Return base64url without padding (RFC 7515, appendix C)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
