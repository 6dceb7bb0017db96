"""The addresses of a host: fresh answers, spread, and those that fail last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.apns import addresses
from relay.apns.addresses import Addresses


class Names:
    """A name service whose answer the test sets."""

    def __init__(self) -> None:
        self.answer = ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
        self.questions = 0

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        self.questions += 1
        if not self.answer:
            raise OSError("no such name")
        return [(2, 1, 6, "", (address, port)) for address in self.answer]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
    return names


async def test_an_answer_is_used_for_a_second(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    places = Addresses("localhost", 443)
    assert await places.look_up() == ["192.0.2.1", "192.0.2.2"]
    names.answer = ["192.0.2.3"]
    assert await places.look_up() == ["192.0.2.1", "192.0.2.2"]
    assert names.questions == 1
    monkeypatch.setattr(addresses, "FRESH_SECONDS", 0.0)
    assert await places.look_up() == ["192.0.2.3"]
    assert names.questions == 2


async def test_a_name_without_an_address(names: Names) -> None:
    names.answer = []
    with pytest.raises(OSError, match="no such name"):
        await Addresses("localhost", 443).look_up()


async def test_connections_are_spread(names: Names) -> None:
    places = Addresses("localhost", 443)
    used = []
    for _ in range(4):
        used.append((await places.look_up())[0])
        places.note_open(used[-1])
    assert used == ["192.0.2.1", "192.0.2.2"] * 2
    places.note_closed("192.0.2.2")
    assert (await places.look_up())[0] == "192.0.2.2"
    places.note_closed("192.0.2.2")
    assert (await places.look_up())[0] == "192.0.2.2"


async def test_an_address_that_failed_comes_last_for_a_while(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Addresses("localhost", 443)
    await places.look_up()
    places.note_failed("192.0.2.1")
    places.note_open("192.0.2.2")
    assert await places.look_up() == ["192.0.2.2", "192.0.2.1"]
    monkeypatch.setattr(addresses, "FRESH_SECONDS", 0.0)
    assert await places.look_up() == ["192.0.2.2", "192.0.2.1"]
    monkeypatch.setattr(addresses, "AVOID_SECONDS", 0.0)
    assert await places.look_up() == ["192.0.2.1", "192.0.2.2"]
