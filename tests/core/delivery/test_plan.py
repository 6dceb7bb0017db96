"""Plans: the send job, simulation or wait of each installation of a claimed batch."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.accounts import Environment
from relay.core.delivery.outcomes import FailureDomain
from relay.core.delivery.plan import ClaimedBatch, ListedDevice, Plan, group_targets, plan_sends
from relay.core.delivery.routing import Target
from relay.core.delivery.sending import DELIVERED, Answer, Credential, Fate
from relay.core.ids import ApnsIds, make_uuid7
from relay.core.push.apns_headers import PushHeaders
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


def everything(plan: Plan) -> list[int]:
    """Return the installations of all parts of a plan."""
    jobs = [job for lane in plan.lanes.values() for job in lane] + plan.simulated
    return sorted(
        [number for job in jobs for number in job.installations]
        + [number for _, _, ids in plan.held for number in ids]
        + [number for _, ids in plan.tokenless for number in ids]
    )


def test_each_copy_goes_with_its_own_topic_team_and_environment() -> None:
    copies = [copy(1), copy(2, "TEAM000002"), copy(3, environment=Environment.SANDBOX)]
    plan = plan_sends([batch(1, 2, 3)], [group_targets(copies)], find, {})
    sent = {
        (credential_id, job.credential and job.credential.environment): list(job.send.topics)
        for credential_id, lane in plan.lanes.items()
        for job in lane
    }
    assert sent == {
        (1, Environment.PRODUCTION): ["com.example.copy1"],
        (3, Environment.PRODUCTION): ["com.example.copy2"],
        (2, Environment.SANDBOX): ["com.example.copy3"],
    }


def test_the_push_type_adds_its_suffix_to_the_topic() -> None:
    plan = plan_sends([batch(1, push_type="voip")], [group_targets([copy(1)])], find, {})
    assert plan.lanes[1][0].send.topics == ["com.example.copy1.voip"]


def test_an_unknown_environment_is_tried_in_production() -> None:
    plan = plan_sends([batch(1)], [group_targets([copy(1, environment=None)])], find, {})
    assert list(plan.lanes) == [1]


def test_a_token_of_two_installations_is_sent_once() -> None:
    plan = plan_sends(
        [batch(1, 2)], [group_targets([copy(1, token=b"same"), copy(2, token=b"same")])], find, {}
    )
    assert [job.send.device_tokens for job in plan.lanes[1]] == [[b"same".hex()]]
    assert plan.tokenless == [(plan.tokenless[0][0], [2])]


def test_a_suspended_or_missing_credential_holds_its_copies_and_no_others() -> None:
    copies = [copy(1), copy(2, "TEAM000003"), copy(3, "TEAM000009")]
    plan = plan_sends([batch(1, 2, 3)], [group_targets(copies)], find, {})
    assert {(credential_id, *ids) for _, credential_id, ids in plan.held} == {(4, 2), (0, 3)}
    assert [job.installations[0] for job in plan.lanes[1]] == [1]


def test_a_failure_domain_acts_on_the_listed_copy_only() -> None:
    listed = {"app": {1: ListedDevice("mine", "unregistered"), 2: ListedDevice("mine", "ok")}}
    plan = plan_sends([batch(1, 2, 3)], [group_targets([copy(1), copy(2), copy(3)])], find, listed)
    assert [job.installations[0] for job in plan.simulated] == [1]
    lane = {job.installations[0]: job.send.traced for job in plan.lanes[1]}
    assert lane == {2: True, 3: False}
    other_app = {"other": {1: ListedDevice("theirs", "unregistered")}}
    assert plan_sends([batch(1)], [group_targets([copy(1)])], find, other_app).simulated == []


def test_a_send_job_carries_what_the_batch_and_its_targets_say() -> None:
    claimed = batch(1, 2)
    plan = plan_sends([claimed], [group_targets([copy(1), copy(2)])], find, {})
    [job] = plan.lanes[1]
    assert (len(job), list(job.installations), job.batch) == (2, [1, 2], claimed)
    assert (job.send.payload, job.send.headers) == (claimed.payload, claimed.headers)
    assert job.send.apns_ids == ApnsIds(PUSH).derive_all([1, 2])
    assert (job.team_id, job.environment, job.test_device) == ("TEAM000001", Environment.PRODUCTION, None)
    assert not job.send.traced


def test_a_part_of_a_job_keeps_its_answers() -> None:
    [job] = plan_sends([batch(1, 2, 3)], [group_targets([copy(1), copy(2), copy(3)])], find, {}).lanes[1]
    job.send.answers[:] = [None, DELIVERED, Answer(Fate.ANSWERED, 410, "Unregistered")]
    part = job.pick([2, 1])
    assert list(part.installations) == [3, 2]
    assert part.send.answers == [job.send.answers[2], DELIVERED]
    assert part.send.device_tokens == [job.send.device_tokens[2], job.send.device_tokens[1]]
    assert part.send.apns_ids == [job.send.apns_ids[2], job.send.apns_ids[1]]
    assert part.send.topics == ["com.example.copy3", "com.example.copy2"]
    assert (part.send.payload, part.send.headers) == (job.send.payload, job.send.headers)
    assert (part.batch, part.team_id, part.environment) == (job.batch, job.team_id, job.environment)
    assert (part.credential, part.test_device, part.send.traced) == (job.credential, None, False)


def test_a_group_among_installations_is_itself_or_a_part() -> None:
    [group] = group_targets([copy(1), copy(2), copy(3)])
    assert group.among([3, 2, 1, 9]) is group
    part = group.among([9, 3, 1])
    assert (list(part.installations), part.team_id, part.environment) == (
        [1, 3],
        group.team_id,
        group.environment,
    )
    assert list(part.tokens) == [group.tokens[0], group.tokens[2]]
    assert list(part.bundle_ids) == ["com.example.copy1", "com.example.copy3"]


def test_bundle_identifiers_of_a_team_may_need_different_credentials() -> None:
    def find_by_bundle(
        team_id: str, environment: Environment, bundle_id: str
    ) -> tuple[Credential | None, int]:
        by_bundle: dict[str, tuple[Credential | None, int]] = {
            "com.example.copy2": (CREDENTIALS["TEAM000001", Environment.SANDBOX], 0),
            "com.example.copy4": (None, 7),
        }
        return by_bundle.get(bundle_id, (CREDENTIALS["TEAM000001", Environment.PRODUCTION], 0))

    claimed = batch(1, 2, 3, 4)
    plan = plan_sends([claimed], [group_targets(map(copy, (1, 2, 3, 4)))], find_by_bundle, {})
    jobs = {number: [list(job.installations) for job in lane] for number, lane in plan.lanes.items()}
    assert jobs == {1: [[1, 3]], 2: [[2]]}
    assert [(held_by, list(ids)) for _, held_by, ids in plan.held] == [(7, [4])]


@pytest.mark.parametrize(("team_id", "held_by"), [("TEAM000003", 4), ("TEAM000009", 0)])
def test_a_listed_device_waits_for_its_credential_too(team_id: str, held_by: int) -> None:
    listed = {"app": {1: ListedDevice("mine", FailureDomain.OK)}}
    plan = plan_sends([batch(1)], [group_targets([copy(1, team_id)])], find, listed)
    assert [(number, list(ids)) for _, number, ids in plan.held] == [(held_by, [1])]
    assert plan.lanes == {}


def test_a_simulated_device_needs_no_credential() -> None:
    listed = {"app": {1: ListedDevice("mine", FailureDomain.SLOW)}}
    plan = plan_sends([batch(1)], [group_targets([copy(1, "TEAM000009")])], find, listed)
    assert [(job.credential, job.test_device, job.send.traced) for job in plan.simulated] == [
        (None, listed["app"][1], True)
    ]
    assert plan.held == []


def test_a_claimed_batch_is_an_ordinary_one_until_more_is_known() -> None:
    claimed = ClaimedBatch("app", PUSH, 1, 0, [], b"", PushHeaders("alert", 10), NOW, NOW)
    assert (claimed.last_reason, claimed.dense, claimed.cancelled) == ("", False, False)
    assert (claimed.token_kind, claimed.has_webhook) == ("apns", False)


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
    plan = plan_sends([claimed], [group_targets(copies)], find, listed)
    assert everything(plan) == list(range(len(drawn)))
    sent = [job.send for lane in plan.lanes.values() for job in lane] + [job.send for job in plan.simulated]
    counted = Counter(token for send in sent for token in send.device_tokens)
    assert not counted or max(counted.values()) == 1
    for credential_id, lane in plan.lanes.items():
        for job in lane:
            assert job.credential is not None
            assert job.credential.credential_id == credential_id
            assert job.team_id == job.credential.team_id
            assert (job.environment or Environment.PRODUCTION) == job.credential.environment
            drawn_tokens = [drawn[number][2].hex() for number in job.installations]
            assert job.send.device_tokens == drawn_tokens
            assert job.send.topics == [f"com.example.copy{number}" for number in job.installations]


def test_two_bundle_identifiers_with_a_credential_each() -> None:
    def find_by_bundle(
        team_id: str, environment: Environment, bundle_id: str
    ) -> tuple[Credential | None, int]:
        return CREDENTIALS["TEAM000001", Environment(environment)] if bundle_id[-1] == "1" else None, 7

    plan = plan_sends([batch(1, 2)], [group_targets([copy(1), copy(2)])], find_by_bundle, {})
    assert [list(job.installations) for job in plan.lanes[1]] == [[1]]
    assert [(held_by, list(ids)) for _, held_by, ids in plan.held] == [(7, [2])]
