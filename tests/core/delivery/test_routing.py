"""Destinations and installations -> deliveries."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from relay.core.accounts import Environment
from relay.core.delivery.plan import ClaimedBatch, ListedDevice, Plan, group_targets, plan_sends
from relay.core.delivery.routing import ReachedTarget, Target, route_push
from relay.core.delivery.sending import Credential
from relay.core.ids import ApnsIds, make_uuid7, smallest_push_id
from relay.core.push.destinations import MAX_FAULTS
from tests.factories import make_batch, make_credential, make_target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PUSH = make_uuid7(1_767_225_600_000, 7)


CREDENTIALS = {
    ("TEAM000001", Environment.PRODUCTION): make_credential(
        credential_id=1, team_id="TEAM000001", environment=Environment.PRODUCTION
    ),
    ("TEAM000001", Environment.SANDBOX): make_credential(
        credential_id=2, team_id="TEAM000001", environment=Environment.SANDBOX
    ),
    ("TEAM000002", Environment.PRODUCTION): make_credential(
        credential_id=3, team_id="TEAM000002", environment=Environment.PRODUCTION
    ),
}
SUSPENDED = {("TEAM000003", Environment.PRODUCTION): 4}


def find(team_id: str, environment: Environment, bundle_id: str) -> tuple[Credential | None, int]:
    return CREDENTIALS.get((team_id, environment)), SUSPENDED.get((team_id, environment), 0)


def batch(*installations: int, push_type: str = "alert") -> ClaimedBatch:
    return make_batch(push=PUSH, installations=installations, push_type=push_type)


def copy(
    number: int,
    team_id: str = "TEAM000001",
    environment: Environment | None = Environment.PRODUCTION,
    token: bytes | None = None,
) -> Target:
    return make_target(
        installation_id=number,
        bundle_id=f"com.example.copy{number}",
        team_id=team_id,
        environment=environment,
        token=token or bytes([number]) * 32,
    )


def reach(destination: str, number: int, listed: bool = False) -> ReachedTarget:
    return ReachedTarget(destination, listed, copy(number))


def everything(made: Plan) -> list[int]:
    """All installations a plan speaks of, wherever they are."""
    legs = [leg for lane in made.lanes.values() for leg in lane] + made.simulated
    return sorted(
        [one for leg in legs for one in leg.installations]
        + [one for _, _, ids in made.held for one in ids]
        + [one for _, ids in made.tokenless for one in ids]
    )


def test_an_installation_reached_twice_is_one_target() -> None:
    made = route_push(["c_1"], ["d_1"], [reach("c_1", 5), reach("d_1", 5)], listed_only=False)
    assert list(made.targets) == [5]
    assert made.warnings == []


def test_a_destination_without_copies_is_a_warning() -> None:
    made = route_push(["c_1", "c_2"], ["d_1"], [reach("c_1", 5)], listed_only=False)
    assert [warning.pointer for warning in made.warnings] == ["/destinations/c_2", "/destinations/d_1"]


def test_only_so_many_destinations_that_reach_nothing_are_named() -> None:
    customers = [f"c_{number}" for number in range(MAX_FAULTS + 7)]
    *named, rest = route_push(customers, [], [reach("c_3", 1)], listed_only=False).warnings
    assert len(named) == MAX_FAULTS
    assert {one.code for one in named} == {"unreachable"}
    assert (rest.code, rest.pointer) == ("too_many", "/destinations")
    assert str(MAX_FAULTS + 6) in rest.detail
    assert len(route_push(customers[:MAX_FAULTS], [], [], listed_only=False).warnings) == MAX_FAULTS


def test_a_warning_points_to_where_the_destination_is_named() -> None:
    places: dict[str | bytes, str] = {"c_2": "/destinations/3", b"digest": "/destinations/0"}
    made = route_push(
        ["c_1", "c_2"], [], [reach("c_1", 5)], listed_only=False, addresses=[b"digest"], places=places
    )
    assert [warning.pointer for warning in made.warnings] == ["/destinations/3", "/destinations/0"]


def test_an_address_is_heard_by_its_digest() -> None:
    reached = [ReachedTarget(b"digest", False, copy(5))]
    made = route_push([], [], reached, listed_only=False, addresses=[b"digest"])
    assert (list(made.targets), made.warnings) == ([5], [])


def test_debug_reaches_listed_devices_only_and_counts_the_others() -> None:
    reached = [reach("c_1", 5, listed=True), reach("c_1", 6), reach("c_1", 7)]
    debug, all_of_them = (
        route_push(["c_1"], [], reached, listed_only=listed_only) for listed_only in (True, False)
    )
    assert (list(debug.targets), debug.skipped) == ([5], 2)
    assert (list(all_of_them.targets), all_of_them.skipped) == ([5, 6, 7], 0)


def test_each_copy_goes_with_its_own_topic_team_and_environment() -> None:
    copies = [copy(1), copy(2, "TEAM000002"), copy(3, environment=Environment.SANDBOX)]
    made = plan_sends([batch(1, 2, 3)], [group_targets(copies)], find, {})
    sent = {
        (credential_id, leg.credential and leg.credential.environment): list(leg.send.topics)
        for credential_id, lane in made.lanes.items()
        for leg in lane
    }
    assert sent == {
        (1, Environment.PRODUCTION): ["com.example.copy1"],
        (3, Environment.PRODUCTION): ["com.example.copy2"],
        (2, Environment.SANDBOX): ["com.example.copy3"],
    }


def test_the_push_type_adds_its_suffix_to_the_topic() -> None:
    made = plan_sends([batch(1, push_type="voip")], [group_targets([copy(1)])], find, {})
    assert made.lanes[1][0].send.topics == ["com.example.copy1.voip"]


def test_an_unknown_environment_is_tried_in_production() -> None:
    made = plan_sends([batch(1)], [group_targets([copy(1, environment=None)])], find, {})
    assert list(made.lanes) == [1]


def test_one_token_at_two_installations_is_sent_once() -> None:
    made = plan_sends(
        [batch(1, 2)], [group_targets([copy(1, token=b"same"), copy(2, token=b"same")])], find, {}
    )
    assert [leg.send.device_tokens for leg in made.lanes[1]] == [[b"same".hex()]]
    assert made.tokenless == [(made.tokenless[0][0], [2])]


def test_a_suspended_or_missing_credential_holds_its_copies_and_no_others() -> None:
    copies = [copy(1), copy(2, "TEAM000003"), copy(3, "TEAM000009")]
    made = plan_sends([batch(1, 2, 3)], [group_targets(copies)], find, {})
    assert {(credential_id, *ids) for _, credential_id, ids in made.held} == {(4, 2), (0, 3)}
    assert [leg.installations[0] for leg in made.lanes[1]] == [1]


def test_a_failure_domain_acts_on_the_listed_copy_only() -> None:
    listed = {"app": {1: ListedDevice("mine", "unregistered"), 2: ListedDevice("mine", "ok")}}
    made = plan_sends([batch(1, 2, 3)], [group_targets([copy(1), copy(2), copy(3)])], find, listed)
    assert [leg.installations[0] for leg in made.simulated] == [1]
    lane = {leg.installations[0]: leg.send.traced for leg in made.lanes[1]}
    assert lane == {2: True, 3: False}
    other_app = {"other": {1: ListedDevice("theirs", "unregistered")}}
    assert plan_sends([batch(1)], [group_targets([copy(1)])], find, other_app).simulated == []


teams = st.sampled_from(["TEAM000001", "TEAM000002", "TEAM000003", "TEAM000009"])
environments = st.sampled_from([Environment.PRODUCTION, Environment.SANDBOX, None])
tokens = st.sampled_from([bytes([number]) * 32 for number in range(6)])


@given(
    st.lists(
        st.tuples(teams, environments, tokens, st.sampled_from([None, "ok", "slow"]), st.booleans()),
        max_size=12,
    )
)
def test_every_installation_is_in_exactly_one_place_and_every_token_sent_at_most_once(
    drawn: list[tuple[str, Environment | None, bytes, str | None, bool]],
) -> None:
    claimed = batch(*range(len(drawn)))
    copies = [
        copy(number, team_id, environment, token)
        for number, (team_id, environment, token, _, has_token) in enumerate(drawn)
        if has_token
    ]
    listed = {"app": {number: ListedDevice("x", row[3]) for number, row in enumerate(drawn) if row[3]}}
    made = plan_sends([claimed], [group_targets(copies)], find, listed)
    assert everything(made) == list(range(len(drawn)))
    sent = [leg.send for lane in made.lanes.values() for leg in lane] + [leg.send for leg in made.simulated]
    counted = Counter(token for send in sent for token in send.device_tokens)
    assert not counted or max(counted.values()) == 1
    for credential_id, lane in made.lanes.items():
        for leg in lane:
            assert leg.credential is not None
            assert leg.credential.credential_id == credential_id
            assert leg.team_id == leg.credential.team_id
            assert (leg.environment or Environment.PRODUCTION) == leg.credential.environment
            drawn_tokens = [drawn[number][2].hex() for number in leg.installations]
            assert leg.send.device_tokens == drawn_tokens
            assert leg.send.topics == [f"com.example.copy{number}" for number in leg.installations]


def test_apns_ids_are_canonical_constant_and_distinct() -> None:
    ids = ApnsIds(PUSH)
    numbers = [0, 1, 2**31, 2**48, 2**62 - 1]
    assert [str(UUID(ids.derive(number))) for number in numbers] == [ids.derive(number) for number in numbers]
    assert len({ids.derive(number) for number in numbers}) == len(numbers)
    assert ApnsIds(PUSH).derive(5) == ids.derive(5)
    assert ApnsIds(make_uuid7(1_767_225_600_000, 8)).derive(5) != ids.derive(5)


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 2**80 - 1),
)
def test_a_push_id_is_a_uuid_of_version_7_that_sorts_by_its_time(moment: datetime, random: int) -> None:
    made = make_uuid7(int(moment.timestamp() * 1000), random)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert smallest_push_id(moment) <= made
