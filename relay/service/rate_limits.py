"""Rate limits per API token, with their headers (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

import asyncio

from relay.core.errors import TooManyRequests
from relay.core.rate_limit import RateLimit
from relay.store.accounts.api_tokens import ApiToken


class TokenRateLimit:
    """The limit for one kind of request, counted for each token. `name` names the kind in headers, such as "pushes"."""

    def __init__(self, name: str, limit: RateLimit) -> None:
        self._name = name
        self._limit = limit
        self._policy = f'"{name}";q={limit.burst};w={limit.window}'

    def count_request(self, token: ApiToken) -> dict[str, str]:
        """Count a request of `token`, and return the headers with the requests that are left.

        Time is that of the event loop, which changes of the system clock do not affect.

        Raises:
            TooManyRequests: the token has no requests left. The error has these headers too.
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
