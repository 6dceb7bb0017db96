"""Signatures of webhook messages."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.webhooks.signatures import SignatureRefused, new_webhook_secret, sign_message, verify_message

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUSH = UUID(int=7)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one of Standard Webhooks' own examples."""


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The vector of the specification's reference libraries."""
    body = b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    assert sign_message(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(), st.integers(-290, 290))
def test_a_genuine_message_is_accepted(body: bytes, late: int) -> None:
    secret = new_webhook_secret(secrets.token_bytes)
    headers = sign_message(secret, "id", NOW, body)
    verify_message(secret, headers, body, NOW + timedelta(seconds=late))
    other = headers | {"webhook-signature": f"v1a,x v1,AAAA {headers['webhook-signature']}"}
    verify_message(secret, other, body, NOW)


NO_MATCH = "No signature of the message is right."
SIGNED = sign_message(SECRET, "id", NOW, b"{}")


@pytest.mark.parametrize(
    ("secret", "changes", "body", "late_seconds", "reason"),
    [
        (SECRET, {}, b"{}", 301, "webhook-timestamp is too far from now."),
        (SECRET, {}, b"{}", -301, "webhook-timestamp is too far from now."),
        ("whsec_" + "AAAA" * 8, {}, b"{}", 0, NO_MATCH),
        (SECRET, {}, b"{} ", 0, NO_MATCH),
        (SECRET, {"webhook-id": "other"}, b"{}", 0, NO_MATCH),
        (
            SECRET,
            {"webhook-timestamp": str(int(NOW.timestamp()) + 1)},
            b"{}",
            0,
            NO_MATCH,
        ),
        (
            SECRET,
            {"webhook-signature": SIGNED["webhook-signature"][3:]},
            b"{}",
            0,
            NO_MATCH,
        ),
        (SECRET, {"webhook-signature": ""}, b"{}", 0, NO_MATCH),
        (SECRET, {"webhook-timestamp": "now"}, b"{}", 0, "webhook-timestamp is not in seconds."),
        (SECRET, {"webhook-timestamp": "٣"}, b"{}", 0, "webhook-timestamp is not in seconds."),
        (SECRET, {"webhook-timestamp": "1" * 12}, b"{}", 0, "webhook-timestamp is not in seconds."),
        (SECRET, {"webhook-timestamp": "1" * 11}, b"{}", 0, "webhook-timestamp is too far from now."),
        ("whsec_é", {}, b"{}", 0, "The secret is not in base64."),
    ],
)
def test_a_message_with_any_change_is_refused(
    secret: str, changes: dict[str, str], body: bytes, late_seconds: int, reason: str
) -> None:
    with pytest.raises(SignatureRefused) as refused:
        verify_message(secret, SIGNED | changes, body, NOW + timedelta(seconds=late_seconds))
    assert str(refused.value) == reason


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_message_without_one_of_its_headers_is_refused(name: str) -> None:
    headers = {key: value for key, value in SIGNED.items() if key != name}
    with pytest.raises(SignatureRefused) as refused:
        verify_message(SECRET, headers, b"{}", NOW)
    assert str(refused.value) == f"There is no {name} header."


def test_one_right_signature_among_several_is_enough() -> None:
    signatures = f"v1,AAAA v2,x {SIGNED['webhook-signature']}"
    verify_message(SECRET, SIGNED | {"webhook-signature": signatures}, b"{}", NOW + timedelta(seconds=300))
    verify_message(SECRET, SIGNED, b"{}", NOW - timedelta(seconds=300))


def test_a_new_secret_is_32_random_bytes_in_base64() -> None:
    assert new_webhook_secret(lambda size: b"\x01" * size) == "whsec_" + "AQEB" * 10 + "AQE="


@pytest.mark.parametrize(
    "secret", ["whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaSw", "whsec_MfKQ9r8", "whsec_MfKQ\n"]
)
def test_a_secret_that_is_not_quite_base64_is_refused(secret: str) -> None:
    with pytest.raises(SignatureRefused, match=r"^The secret is not in base64\.$"):
        sign_message(secret, "id", NOW, b"{}")
