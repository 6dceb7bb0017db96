"""Routing: the targets of a push."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.core.delivery.routing import ReachedTarget, Route, check_recipients, route_push
from relay.core.errors import Fault, Invalid
from relay.core.push.destinations import MAX_FAULTS
from tests.factories import make_push_request, make_target

NO_RECIPIENTS = "No customer with a device has any of these addresses; nothing was sent."


def reach(destination: str | bytes, number: int, listed: bool = False) -> ReachedTarget:
    return ReachedTarget(destination, listed, make_target(installation_id=number))


def test_an_installation_reached_twice_is_one_target() -> None:
    route = route_push(["c_1"], ["d_1"], [reach("c_1", 5), reach("d_1", 5)], listed_only=False)
    assert list(route.targets) == [5]
    assert (route.warnings, route.skipped) == ([], 0)


def test_a_destination_that_reaches_no_installation_is_a_warning() -> None:
    route = route_push(["c_1", "c_2"], ["d/1"], [reach("c_1", 5)], listed_only=False)
    assert route.warnings == [
        Fault("unreachable", "/destinations/c_2", "No installation with a device token."),
        Fault("unreachable", "/destinations/d~11", "No installation with a device token."),
    ]


def test_beyond_a_thousand_unreachable_destinations_are_counted() -> None:
    customers = [f"c_{number}" for number in range(MAX_FAULTS + 7)]
    *named, rest = route_push(customers, [], [reach("c_3", 1)], listed_only=False).warnings
    assert len(named) == MAX_FAULTS == 1000
    assert {warning.code for warning in named} == {"unreachable"}
    detail = "1006 destinations reach nothing; 1000 of them are named."
    assert rest == Fault("too_many", "/destinations", detail)
    assert len(route_push(customers[:MAX_FAULTS], [], [], listed_only=False).warnings) == MAX_FAULTS


def test_a_warning_points_to_where_the_destination_is_named() -> None:
    places: dict[str | bytes, str] = {"c_2": "/destinations/3", b"digest": "/destinations/0"}
    reached = [reach("c_1", 5)]
    route = route_push(["c_1", "c_2"], [], reached, listed_only=False, addresses=[b"digest"], places=places)
    assert [warning.pointer for warning in route.warnings] == ["/destinations/3", "/destinations/0"]


def test_an_address_is_reached_by_its_digest() -> None:
    route = route_push([], [], [reach(b"digest", 5)], listed_only=False, addresses=[b"digest"])
    assert (list(route.targets), route.warnings) == ([5], [])


@pytest.mark.parametrize(("listed_only", "targets", "skipped"), [(True, [5], 2), (False, [5, 6, 7], 0)])
def test_debug_reaches_listed_devices_only_and_counts_the_others(
    listed_only: bool, targets: list[int], skipped: int
) -> None:
    reached = [reach("c_1", 5, listed=True), reach("c_1", 6), reach("c_1", 7), reach("d_1", 7)]
    route = route_push(["c_1"], [], reached, listed_only=listed_only)
    assert (list(route.targets), route.skipped) == (targets, skipped)


@pytest.mark.parametrize(
    ("destinations", "route"),
    [
        ({"addresses": [b"x"], "customers": ["c_1"], "devices": []}, Route({}, 0, [])),
        ({"addresses": [b"x"], "devices": ["d_1"], "customers": []}, Route({}, 0, [])),
        ({"addresses": [b"x"], "customers": [], "devices": []}, Route({1: make_target()}, 0, [])),
        ({"addresses": [b"x"], "customers": [], "devices": []}, Route({}, 1, [])),
        ({"customers": ["c_1"], "devices": []}, Route({}, 0, [])),
        ({"customers": [], "devices": []}, Route({}, 0, [])),
    ],
)
def test_a_push_has_recipients_if_it_names_others_or_an_address_reaches_one(
    destinations: dict[str, Any], route: Route
) -> None:
    check_recipients(replace(make_push_request(), **destinations), route)


def test_addresses_that_all_reach_no_installation_are_refused() -> None:
    request = replace(make_push_request(), customers=[], devices=[], addresses=[b"x", b"y"])
    with pytest.raises(Invalid) as refused:
        check_recipients(request, Route({}, 0, []))
    assert refused.value.detail == NO_RECIPIENTS
    assert refused.value.faults == (Fault("no_recipients", "/destinations", NO_RECIPIENTS),)
