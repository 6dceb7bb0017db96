"""The field `destinations`: its forms, and faults at their places."""

from __future__ import annotations

from typing import Any

import pytest

from relay.core.email_aliases import AddressDigests
from relay.core.errors import Fault, Invalid
from relay.core.identifiers import Identifiers
from relay.core.push.destinations import DestinationCheck, check_destinations

KEY = "a key of at least thirty-two characters"
IDENTIFIERS, DIGESTS = Identifiers((KEY,)), AddressDigests(KEY)
ADA = IDENTIFIERS.mint_customer("chess", b"a" * 16)
BERT = IDENTIFIERS.mint_customer("chess", b"b" * 16)
PHONE = IDENTIFIERS.mint_device("chess", ADA, b"p" * 16)
ELSEWHERE = IDENTIFIERS.mint_customer("go", b"a" * 16)


def check(destinations: Any) -> DestinationCheck:
    checked = DestinationCheck(IDENTIFIERS, DIGESTS, "chess", check_destinations(destinations))
    for _ in checked.slices():
        pass
    checked.finish()
    return checked


def test_a_map_of_customers_devices_and_addresses() -> None:
    checked = check({ADA: [PHONE, PHONE], BERT: [], "Carl@example.com": []})
    assert list(checked.customers) == [BERT]
    assert list(checked.devices) == [PHONE]
    assert list(checked.addresses) == [DIGESTS.digest_address("chess", "carl@example.com")]
    assert list(checked.places.values()) == ["/destinations/Carl@example.com"]


def test_a_list_of_customers_and_addresses() -> None:
    checked = check([ADA, "carl@example.com", BERT, ADA, " CARL@example.com"])
    assert list(checked.customers) == [ADA, BERT]
    assert list(checked.addresses) == [DIGESTS.digest_address("chess", "carl@example.com")]
    assert checked.places == {
        ADA: "/destinations/0",
        DIGESTS.digest_address("chess", "carl@example.com"): "/destinations/1",
        BERT: "/destinations/2",
    }


@pytest.mark.parametrize(
    ("destinations", "code", "pointer"),
    [
        (None, "wrong_type", "/destinations"),
        ("ada@example.com", "wrong_type", "/destinations"),
        ([], "empty", "/destinations"),
        ({}, "empty", "/destinations"),
        ([1], "wrong_type", "/destinations/0"),
        ([ADA, None], "wrong_type", "/destinations/1"),
        ([ADA, [ADA]], "wrong_type", "/destinations/1"),
        ([PHONE], "invalid_customer", "/destinations/0"),
        (["all"], "invalid_customer", "/destinations/0"),
        ([ADA, ELSEWHERE], "invalid_customer", "/destinations/1"),
        ({ELSEWHERE: []}, "invalid_customer", f"/destinations/{ELSEWHERE}"),
        ({BERT: [PHONE]}, "invalid_device", f"/destinations/{BERT}/0"),
        (["a@b@c"], "invalid_address", "/destinations/0"),
        ({"a/b@": []}, "invalid_address", "/destinations/a~1b@"),
        ({"ada@example.com": [PHONE]}, "not_allowed", "/destinations/ada@example.com/0"),
        ({"ada@example.com": None}, "wrong_type", "/destinations/ada@example.com"),
        ([f"{n}@example.com" for n in range(50_001)], "too_many", "/destinations"),
        ({ADA: [PHONE] * 50_001}, "too_many", "/destinations"),
    ],
)
def test_a_mistake_is_named_at_its_place(destinations: Any, code: str, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(destinations)
    assert [(fault.code, fault.pointer) for fault in caught.value.faults] == [(code, pointer)]
    assert "example.com" not in caught.value.detail + caught.value.faults[0].detail


def test_a_large_request_lets_others_run_in_between() -> None:
    destinations = check_destinations([f"{n}@example.com" for n in range(2000)])
    checked = DestinationCheck(IDENTIFIERS, DIGESTS, "chess", destinations)
    assert len(list(checked.slices(500))) == 4


def test_a_thousand_faults_are_named_and_the_rest_is_counted() -> None:
    with pytest.raises(Invalid) as caught:
        check([ELSEWHERE] * 1500)
    faults = caught.value.faults
    assert len(faults) == 1001
    assert (faults[-1].code, faults[-1].detail[:4]) == ("too_many", "1500")


@pytest.mark.parametrize(
    "destinations",
    [
        ["x"] * 50_000,
        {"x": ["y"] * 50_000},
        {f"c_{number}": [] for number in range(50_000)},
        {f"c_{number}": ["x"] for number in range(50_000)},
    ],
)
def test_fifty_thousand_destinations_are_allowed(destinations: Any) -> None:
    assert check_destinations(destinations) is destinations
    with pytest.raises(Invalid, match="not valid") as caught:
        check_destinations(
            [*destinations, "y"] if isinstance(destinations, list) else {**destinations, "z": ["y"]}
        )
    detail = "There are 50001 destinations; 50000 are allowed."
    assert caught.value.faults == (Fault("too_many", "/destinations", detail),)


def test_a_slice_ends_with_the_destination_that_fills_it() -> None:
    def count_slices(destinations: Any, size: int) -> int:
        return len(list(DestinationCheck(IDENTIFIERS, DIGESTS, "chess", destinations).slices(size)))

    assert [count_slices(["x"] * 10, size) for size in (1, 5, 6, 10, 11)] == [10, 2, 1, 1, 0]
    assert [count_slices({"a": ["x"] * 4, "b": ["y"] * 4}, size) for size in (5, 6, 10, 11)] == [2, 1, 1, 0]
    assert count_slices(["x"] * 1000, 500) == len(list(check_slices(["x"] * 1000)))


def check_slices(destinations: Any) -> Any:
    return DestinationCheck(IDENTIFIERS, DIGESTS, "chess", destinations).slices()


def test_all_faults_are_named_when_there_are_a_thousand() -> None:
    with pytest.raises(Invalid) as caught:
        check([ELSEWHERE] * 1000)
    assert len(caught.value.faults) == 1000
    assert {fault.code for fault in caught.value.faults} == {"invalid_customer"}
    assert caught.value.detail == "Some destinations are not of this app; nothing was sent."
