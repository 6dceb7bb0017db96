"""How often a token may ask, as headers and as 429 (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

import asyncio

from relay.core.errors import TooManyRequests
from relay.core.rate_limit import RateLimit
from relay.store.accounts.api_tokens import ApiToken


class Rates:
    """Counts what each token asks of one kind: `name` is that kind in the headers, such as "pushes"."""

    def __init__(self, name: str, limit: RateLimit) -> None:
        self._name = name
        self._limit = limit
        self._policy = f'"{name}";q={limit.burst};w={limit.window}'

    def take(self, token: ApiToken) -> dict[str, str]:
        """Count a request. Returns the headers that say what is left.

        Raises TooManyRequests with the same headers. Time is the event loop's: nobody sets it.
        """
        allowance = self._limit.count_request(token.token_id, asyncio.get_running_loop().time())
        headers = {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"{self._name}";r={allowance.remaining};t={allowance.reset}',
        }
        if not allowance.allowed:
            headers["Retry-After"] = str(allowance.retry_after)
            raise TooManyRequests(
                f"This token sends too many {self._name}; nothing was stored.", headers=headers
            )
        return headers
