"""Rate limits per API token, and their headers."""

from __future__ import annotations

from uuid import uuid4

import pytest

from relay.core.errors import TooManyRequests
from relay.core.ids import PublisherId, TokenId
from relay.core.rate_limit import RateLimit
from relay.service.rate_limits import TokenRateLimit
from relay.store.accounts.api_tokens import ManageToken


def make_token() -> ManageToken:
    return ManageToken(TokenId(uuid4()), PublisherId(uuid4()), None)


async def test_the_headers_name_the_policy_and_the_requests_that_are_left() -> None:
    rates, token = TokenRateLimit("pushes", RateLimit(0.1, 2)), make_token()
    headers = rates.count_request(token)
    assert headers["RateLimit-Policy"] == '"pushes";q=2;w=20'
    assert headers["RateLimit"].startswith('"pushes";r=1;t=')
    assert "Retry-After" not in headers


async def test_a_token_beyond_its_limit_is_refused_and_others_are_not() -> None:
    rates, token = TokenRateLimit("pushes", RateLimit(0.1, 2)), make_token()
    for _ in range(2):
        rates.count_request(token)
    with pytest.raises(TooManyRequests, match="This token sends too many pushes") as refused:
        rates.count_request(token)
    assert refused.value.headers["RateLimit"].startswith('"pushes";r=0;t=')
    assert 0 < int(refused.value.headers["Retry-After"]) <= 10
    rates.count_request(make_token())
