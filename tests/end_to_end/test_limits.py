"""Limits: a publisher who sends too much gets 429 or 503 with standard headers; other publishers are not affected."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from relay.node.main import Relay
from relay.node.roles import Roles
from relay.settings import LimitsSettings, Settings
from tests.eventually import eventually

from .store import App, Store

LIMIT = 20


@pytest.fixture
def limits() -> LimitsSettings:
    return LimitsSettings(pushes_per_second=0.1, burst=1000, queued_batches=LIMIT)


@pytest.fixture
def roles() -> Roles:
    """A node that accepts and does not send."""
    return Roles(dispatch=False)


async def test_a_full_queue_refuses_its_app_only_and_drops_nothing(store: Store, settings: Settings) -> None:
    flooding, quiet = await store.app(), await store.app()
    flooded, other = await store.copy(flooding, "anna", "a1"), await store.copy(quiet, "anna", "a1")
    accepted = 0
    while (answer := await store.post(flooding, flooded.customer)).status == 202:
        accepted += 1
        assert accepted <= 2 * LIMIT, "the queue has a limit"
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert accepted >= LIMIT
    assert (await store.post(quiet, other.customer)).status == 202

    async with AsyncExitStack() as stack:
        await Relay.start(settings, stack, roles=Roles(api=False))

        async def everything_received() -> bool:
            return sum(await store.received(flooded, other)) > accepted

        async def accepted_again() -> bool:  # once the queue is counted again
            return (await store.post(flooding, flooded.customer)).status != 503

        await eventually(everything_received)
        await eventually(accepted_again, poll_seconds=0.05)


@pytest.mark.parametrize("limits", [LimitsSettings(pushes_per_second=0.01, burst=3)])
async def test_too_many_pushes_with_one_token_are_refused(store: Store) -> None:
    app = await store.app()
    copy = await store.copy(app, "anna", "a1")
    left = []
    for _ in range(3):
        answer = await store.post(app, copy.customer)
        assert answer.status == 202
        assert answer.headers["RateLimit-Policy"] == '"pushes";q=3;w=300'
        left.append(answer.headers["RateLimit"].split(";")[1])
    assert left == ["r=2", "r=1", "r=0"]
    refused = await store.post(app, copy.customer)
    assert refused.status == 429
    assert refused.content_type == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 100
    assert refused.headers["RateLimit"].startswith('"pushes";r=0;t=')

    second = App(app.app_id, await store.push_token(app.publisher, app.app_id), app.publisher)
    assert (await store.post(second, copy.customer)).status == 202
