"""Provider authentication tokens: the JWT in `authorization: bearer …`.

Rule (Apple, "Establishing a token-based connection to APNs"): header `{"alg": "ES256", "kid": <key>}`, claims
`{"iss": <team>, "iat": <epoch seconds>}`, signed with the team's key. A token is valid for one hour after `iat`. This
module verifies the signature; `checks` verifies age and connection.
"""

from __future__ import annotations

import math
from typing import Any, Final

import jwt
import msgspec

from .registry import SigningKey, StandInRegistry

# Only the signature is verified here. `checks` reads the claims; Apple ignores the others.
_OPTIONS: Final[Any] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class ReceivedProviderToken(msgspec.Struct, frozen=True):
    """A JWT with a valid signature. `issued_at` is its `iat`, epoch seconds."""

    key: SigningKey
    team_id: str
    issued_at: float


class Verifier:
    """Verification of JWTs with the registered keys. It caches results: a sender repeats a JWT for an hour."""

    def __init__(self, registry: StandInRegistry, cache_size: int = 4096) -> None:
        self._registry = registry
        self._cache: dict[str, ReceivedProviderToken] = {}
        self._cache_size = cache_size

    def verify(self, text: str) -> ReceivedProviderToken | None:
        """Return the verified token; None if it is unreadable, its key is unknown, or its signature is wrong."""
        token = self._cache.get(text)
        if token is None:
            token = self._verify(text)
            if token is None:
                return None
            # Only tokens with a valid signature are cached: without a key the cache cannot be filled.
            if len(self._cache) >= self._cache_size:
                del self._cache[next(iter(self._cache))]
            self._cache[text] = token
        if self._registry.key(token.key.key_id) is not token.key:
            return None  # the key was revoked
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
