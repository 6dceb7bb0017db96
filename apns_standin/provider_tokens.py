"""Provider authentication tokens: the JWT in `authorization: bearer …`.

Rule (Apple, "Establishing a token-based connection to APNs"): `{"alg": "ES256", "kid": <key>}`,
`{"iss": <team>, "iat": <epoch seconds>}`, signed with the team's key. A token is valid for one hour after
`iat`; how old it is, and whether it suits the connection, is judged in `checks`.
"""

from __future__ import annotations

import math
from typing import Any

import jwt
import msgspec

from .registry import SigningKey, StandInRegistry

# The signature is the proof; everything else in the claims is judged by the checks, or ignored like Apple
# does.
_OPTIONS: Any = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class ReceivedProviderToken(msgspec.Struct, frozen=True):
    """A JWT whose signature holds; `issued_at` is its `iat` in epoch seconds."""

    key: SigningKey
    team_id: str
    issued_at: float


class Verifier:
    """Verifies JWTs against the registered keys, each text once: a sender repeats one JWT for an hour."""

    def __init__(self, registry: StandInRegistry, cache_size: int = 4096) -> None:
        self._registry = registry
        self._cache: dict[str, ReceivedProviderToken] = {}
        self._cache_size = cache_size

    def verify(self, text: str) -> ReceivedProviderToken | None:
        """The verified token; None when it can't be parsed, its key is unknown or its signature wrong."""
        token = self._cache.get(text)
        if token is None:
            token = self._verify(text)
            if token is None:
                return None
            # Only what carries a good signature is kept, so nobody without a key can fill the cache.
            if len(self._cache) >= self._cache_size:
                del self._cache[next(iter(self._cache))]
            self._cache[text] = token
        if self._registry.key(token.key.key_id) is not token.key:
            return None  # revoked since
        return token

    def _verify(self, text: str) -> ReceivedProviderToken | None:
        try:
            key_id = jwt.get_unverified_header(text).get("kid")
            key = self._registry.key(key_id) if isinstance(key_id, str) else None
            if key is None:
                return None
            claims = jwt.decode(text, key.public_key, algorithms=["ES256"], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        issued_at = claims.get("iat")
        if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
            return None
        if not math.isfinite(issued_at):
            return None
        if claims.get("iss") != key.team_id:
            return None
        return ReceivedProviderToken(key, key.team_id, issued_at)
