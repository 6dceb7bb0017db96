"""The table of reasons: decisions, evidence against a device token, explanations and metric labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.accounts import Environment
from relay.core.delivery.reasons import (
    ANSWER_RULES,
    OTHER,
    REASONS,
    RELAY_RULES,
    Blame,
    ReasonAction,
    decide,
    explain,
    metric_label,
    token_death,
)
from relay.core.delivery.sending import DELIVERED, Answer, Fate

SENT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BEFORE = SENT - timedelta(days=1)
AFTER = SENT + timedelta(seconds=1)


def answered(status: int, reason: str = "", timestamp: datetime | None = None) -> Answer:
    return Answer(Fate.ANSWERED, status, reason, int(timestamp.timestamp() * 1000) if timestamp else None)


# Apple, "Handling notification responses from APNs" and "Handling error responses from Apple Push Notification
# service": every reason they name, and what must follow.
EXPECTED = {
    ReasonAction.FAIL: [
        *((400, reason) for reason in ("BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority")),
        *((400, reason) for reason in ("InvalidPushType", "PayloadEmpty", "BadTopic", "MissingTopic")),
        *((400, reason) for reason in ("TopicDisallowed", "MissingDeviceToken", "DuplicateHeaders")),
        (413, "PayloadTooLarge"),
        (403, "Forbidden"),
        (404, "BadPath"),
        (405, "MethodNotAllowed"),
        # of broadcast channels
        *((400, reason) for reason in ("FeatureNotEnabled", "CannotCreateChannelConfig", "MissingChannelId")),
        *((400, reason) for reason in ("BadChannelId", "ChannelNotRegistered", "MissingPushType")),
        *((400, reason) for reason in ("BadRequestParams", "BadRequestPayload")),
        (403, "TopicMismatch"),
    ],
    ReasonAction.RETIRE_WRONG_TOPIC: [(400, "DeviceTokenNotForTopic")],
    ReasonAction.RETIRE_BAD_TOKEN: [(400, "BadDeviceToken")],
    ReasonAction.RETIRE_UNREGISTERED: [(410, "Unregistered"), (410, "ExpiredToken")],
    ReasonAction.SUSPEND: [
        *(
            (403, reason)
            for reason in ("BadCertificate", "BadCertificateEnvironment", "MissingProviderToken")
        ),
        *((403, reason) for reason in ("InvalidProviderToken", "BadEnvironmentKeyIdInToken")),
    ],
    ReasonAction.RETRY_SOON: [
        (403, "ExpiredProviderToken"),
        (403, "UnrelatedKeyIdInToken"),
        (400, "IdleTimeout"),
        (421, ""),
    ],
    ReasonAction.RETRY: [
        (429, "TooManyRequests"),
        (429, "TooManyProviderTokenUpdates"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (503, "Shutdown"),
    ],
    ReasonAction.DELIVERED: [(200, "")],
}


def test_a_key_that_cannot_be_used_suspends_its_credential() -> None:
    assert decide(Answer(Fate.NOT_SENT, reason="BadCredential")) is ReasonAction.SUSPEND
    assert decide(Answer(Fate.NOT_SENT, reason="ConnectFailed")) is ReasonAction.RETRY_SOON


def test_a_timestamp_beyond_all_calendars_is_compared_too() -> None:
    answer = Answer(Fate.ANSWERED, 410, "Unregistered", 2**63 - 1)
    assert token_death(decide(answer), answer, sent_at=SENT, environment=None) == SENT


@pytest.mark.parametrize(
    ("action", "status", "reason"),
    [(action, *answer) for action, answers in EXPECTED.items() for answer in answers],
)
def test_every_answer_apple_names(action: ReasonAction, status: int, reason: str) -> None:
    assert decide(answered(status, reason)) is action


def test_the_expectations_cover_the_table() -> None:
    assert {answer for answers in EXPECTED.values() for answer in answers} == set(ANSWER_RULES)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (200, ReasonAction.DELIVERED),
        (400, ReasonAction.FAIL),
        (403, ReasonAction.FAIL),
        (404, ReasonAction.FAIL),
        (428, ReasonAction.FAIL),
        (430, ReasonAction.FAIL),
        (499, ReasonAction.FAIL),
        (410, ReasonAction.RETIRE_UNREGISTERED),
        (421, ReasonAction.RETRY_SOON),
        (429, ReasonAction.RETRY),
        (500, ReasonAction.RETRY),
        (502, ReasonAction.RETRY),
        (503, ReasonAction.RETRY),
    ],
)
@pytest.mark.parametrize("reason", ["", "SomethingNew"])
def test_an_unknown_reason_goes_by_its_status(status: int, reason: str, action: ReasonAction) -> None:
    assert decide(answered(status, reason)) is action


@pytest.mark.parametrize("fate", [Fate.NOT_SENT, Fate.UNKNOWN])
def test_a_push_without_an_answer_is_retried(fate: Fate) -> None:
    assert decide(Answer(fate, 0, "GoAway")) is ReasonAction.RETRY_SOON


@given(st.integers(0, 999), st.text(max_size=20))
def test_every_answer_has_an_action_and_only_known_ones_retire(status: int, reason: str) -> None:
    action = decide(answered(status, reason))
    died_at = token_death(action, answered(status, reason), sent_at=SENT, environment=Environment.SANDBOX)
    assert (died_at is not None) <= (status == 410 or reason in ("BadDeviceToken", "DeviceTokenNotForTopic"))


def dead(
    answer: Answer, registered_at: datetime, environment: Environment | None = Environment.PRODUCTION
) -> bool:
    died_at = token_death(decide(answer), answer, sent_at=SENT, environment=environment)
    return died_at is not None and registered_at <= died_at


def test_a_410_retires_tokens_registered_at_or_before_its_timestamp() -> None:
    late = answered(410, "Unregistered", SENT - timedelta(hours=1))
    assert dead(late, SENT - timedelta(hours=1))
    assert dead(late, BEFORE)
    assert not dead(late, SENT - timedelta(minutes=59)), "registered again since: it is alive"
    assert dead(answered(410, "ExpiredToken", SENT), BEFORE)


def test_a_410_without_timestamp_goes_by_the_time_of_sending() -> None:
    assert dead(answered(410, "Unregistered"), BEFORE)
    assert not dead(answered(410, "Unregistered"), AFTER)


def test_bad_device_token_retires_only_where_the_environment_is_known() -> None:
    assert dead(answered(400, "BadDeviceToken"), BEFORE, Environment.SANDBOX)
    assert not dead(answered(400, "BadDeviceToken"), BEFORE, None)
    assert dead(answered(400, "DeviceTokenNotForTopic"), BEFORE, None)


@pytest.mark.parametrize("answer", [(status, reason) for status, reason in ANSWER_RULES if status == 403])
def test_a_credentials_fault_never_costs_a_token(answer: tuple[int, str]) -> None:
    assert not dead(answered(*answer), BEFORE)


def test_delivered_is_a_200() -> None:
    assert decide(DELIVERED) is ReasonAction.DELIVERED


def test_every_row_has_whole_sentences() -> None:
    for rule in (*ANSWER_RULES.values(), *RELAY_RULES.values()):
        assert rule.meaning.endswith(".")
        assert rule.advice.endswith(".")


@pytest.mark.parametrize(("status", "reason"), [key for key in ANSWER_RULES if key[1]])
def test_explain_returns_the_row_of_the_answer(status: int, reason: str) -> None:
    assert explain(reason) is ANSWER_RULES[status, reason]


def test_the_end_of_a_connection_is_explained_by_the_reason_that_apns_gave() -> None:
    assert explain("GoAway:Shutdown") is ANSWER_RULES[503, "Shutdown"]
    assert explain("GoAway:SomethingNew") is RELAY_RULES["GoAway"]


@pytest.mark.parametrize("reason", ["SomethingNew", "SomethingNew:SomethingElse", "", ":"])
def test_a_reason_that_is_not_in_the_table_is_called_unknown(reason: str) -> None:
    rule = explain(reason)
    assert rule.meaning == "Apple gave a reason that the relay has no words for."
    assert rule.advice == "Tell the operator of the relay what it is."
    assert (rule.action, rule.blame) == (None, Blame.APNS)


@given(st.text())
def test_a_metric_label_is_one_of_a_closed_set(reason: str) -> None:
    assert metric_label(reason) in REASONS | {OTHER}


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_of_the_table_is_its_own_metric_label(reason: str) -> None:
    assert metric_label(reason) == reason


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("GoAway:Shutdown", "GoAway"),
        ("Whatever", "Other"),
        ("Whatever:Shutdown", "Other"),
        (":", "Other"),
        (":Shutdown", "Other"),
    ],
)
def test_the_metric_label_of_a_reason_outside_the_table(reason: str, label: str) -> None:
    assert metric_label(reason) == label


OWN_REASONS = {
    None: "Expired Cancelled NoDeviceToken InternalError CredentialSuspended NoCredential",
    ReasonAction.SUSPEND: "BadCredential",
    ReasonAction.RETRY_SOON: (
        "CredentialForgotten CredentialReplaced NoFile ProviderTokenExpired ConnectFailed ConnectTimeout NoConnection "
        "NoHttp2 TlsFailed Closed ConnectionClosed ConnectionLost GoAway MisdirectedRequest PingTimeout ProtocolError "
        "Stalled StreamIdsUsedUp MalformedAnswer NoAnswer RefusedStream ResponseTimeout StreamReset"
    ),
}


def test_the_reasons_of_the_relay() -> None:
    expected = {reason: action for action, reasons in OWN_REASONS.items() for reason in reasons.split()}
    assert {reason: rule.action for reason, rule in RELAY_RULES.items()} == expected


def test_the_words_of_actions_and_of_blame_are_those_of_traces_and_of_the_console() -> None:
    assert {action.name.lower() for action in ReasonAction} == {action.value for action in ReasonAction}
    assert {blame.name.lower() for blame in Blame} == {blame.value for blame in Blame}


BLAME = {
    Blame.NOBODY: "Expired Cancelled",
    Blame.PUBLISHER: (
        "BadCollapseId BadExpirationDate BadMessageId BadPriority InvalidPushType PayloadEmpty PayloadTooLarge"
    ),
    Blame.OPERATOR: (
        "BadTopic MissingTopic TopicDisallowed Forbidden FeatureNotEnabled CannotCreateChannelConfig TopicMismatch "
        "ChannelNotRegistered BadCertificate BadCertificateEnvironment MissingProviderToken InvalidProviderToken "
        "BadEnvironmentKeyIdInToken CredentialSuspended NoCredential BadCredential"
    ),
    Blame.DEVICE: "DeviceTokenNotForTopic BadDeviceToken Unregistered ExpiredToken NoDeviceToken TooManyRequests",
    Blame.RELAY: (
        "MissingDeviceToken DuplicateHeaders BadPath MethodNotAllowed MissingChannelId BadChannelId MissingPushType "
        "BadRequestParams BadRequestPayload TlsFailed NoHttp2 NoFile Closed"
    ),
}


def test_the_party_that_can_fix_each_reason() -> None:
    expected = {reason: blame for blame, reasons in BLAME.items() for reason in reasons.split()}
    assert {reason: explain(reason).blame for reason in REASONS} == {
        reason: expected.get(reason, Blame.APNS) for reason in REASONS
    }
