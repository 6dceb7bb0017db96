"""Isolation from bad neighbours: stuck, refused, throttled or flooding apps do not delay the others."""

from __future__ import annotations

import msgspec
import pytest

from apns_standin import ListenerFault
from relay.settings import DispatchSettings, LimitsSettings, Settings

from .store import PATIENCE, Store


@pytest.fixture
def dispatch() -> DispatchSettings:
    """Eight targets in flight at most: each neighbour alone could take them all."""
    return DispatchSettings(retry_first=0.2, retry_longest=1.0, poll=0.1, batch_size=4, in_flight=8)


@pytest.fixture
def limits() -> LimitsSettings:
    return LimitsSettings(queued_batches=10)


@pytest.fixture
def response_timeout() -> float:
    """Seconds until the relay gives up a request to Apple."""
    return 3.0


@pytest.fixture
def settings(settings: Settings, response_timeout: float) -> Settings:
    apns = msgspec.structs.replace(settings.apns, response_timeout=response_timeout)
    return msgspec.structs.replace(settings, apns=apns)


async def test_a_push_goes_through_beside_four_bad_neighbours(store: Store) -> None:
    stuck, flooding, refused, throttled, quiet = [await store.app() for _ in range(5)]
    everyone = [await store.copy(stuck, f"c{n}", f"b{n:02}") for n in range(12)]
    flooded = await store.copy(flooding, "f", "f1")
    sandbox = {"environment": "sandbox"}
    held = await store.copy(refused, "r", "e1", team_id="TEAM000003", **sandbox)
    slowed = await store.copy(throttled, "t", "c1", team_id="TEAM000004", **sandbox)
    mine = await store.copy(quiet, "q", "d1", team_id="TEAM000005", **sandbox)
    await store.apns.set_fault(ListenerFault("stall"), "production")
    store.apns.answer(held.device_token, 403, "InvalidProviderToken")
    store.apns.answer(slowed.device_token, 429, "TooManyRequests")

    _, broadcast = await store.send(stuck, "all")
    accepted = 0
    while (await store.send(flooding, {flooded.customer: []}))[0] == 202:
        accepted += 1
        assert accepted < 100, "the queue has a limit"
    for _ in range(15):
        for app, copy in ((refused, held), (throttled, slowed)):
            await store.send(app, {copy.customer: []})  # until their queues are full too

    for _ in range(10):
        assert (await store.push(quiet, {mine.customer: []}))["counts"]["delivered"] == 1
    page = await store.page(stuck, broadcast["push_id"])
    assert page["counts"]["delivered"] == 0  # so none of the pushes above waited for it

    await store.apns.clear_faults("production")
    assert (await store.done(stuck, broadcast["push_id"]))["counts"]["delivered"] == len(everyone)


@pytest.mark.parametrize(("limits", "response_timeout"), [(LimitsSettings(), 10 * PATIENCE)])
async def test_two_credentials_that_are_stuck_leave_room_for_a_third(store: Store) -> None:
    first_stuck, second_stuck, quiet = [await store.app() for _ in range(3)]
    first = await store.copy(first_stuck, "a", "a1", team_id="TEAM000001")
    second = await store.copy(second_stuck, "b", "b1", team_id="TEAM000002")
    mine = await store.copy(quiet, "q", "d1", team_id="TEAM000005", environment="sandbox")
    await store.apns.set_fault(ListenerFault("stall"), "production")
    for _ in range(10):
        await store.send(first_stuck, {first.customer: []})
        await store.send(second_stuck, {second.customer: []})
    for _ in range(5):
        assert (await store.push(quiet, {mine.customer: []}))["counts"]["delivered"] == 1
    await store.apns.clear_faults("production")
