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
def test_a_genuine_message_is_believed(body: bytes, late: int) -> None:
    secret = new_webhook_secret(secrets.token_bytes)
    headers = sign_message(secret, "id", NOW, body)
    verify_message(secret, headers, body, NOW + timedelta(seconds=late))
    other = headers | {"webhook-signature": f"v1a,x v1,AAAA {headers['webhook-signature']}"}
    verify_message(secret, other, body, NOW)


def test_any_other_is_not() -> None:
    body = b'{"type":"webhook.test"}'
    headers = sign_message(SECRET, "id", NOW, body)
    for late in (-301, 302):
        with pytest.raises(SignatureRefused, match="too far"):
            verify_message(SECRET, headers, body, NOW + timedelta(seconds=late))
    with pytest.raises(SignatureRefused, match="No signature"):
        verify_message(new_webhook_secret(secrets.token_bytes), headers, body, NOW)
    with pytest.raises(SignatureRefused, match="No signature"):
        verify_message(SECRET, headers, body + b" ", NOW)
    with pytest.raises(SignatureRefused, match="No signature"):
        verify_message(SECRET, headers | {"webhook-id": "other"}, body, NOW)
    with pytest.raises(SignatureRefused, match="No signature"):
        verify_message(SECRET, headers | {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, body, NOW)
    with pytest.raises(SignatureRefused, match="not in seconds"):
        verify_message(SECRET, headers | {"webhook-timestamp": "now"}, body, NOW)
    for name in headers:
        with pytest.raises(SignatureRefused, match=name):
            verify_message(SECRET, {key: value for key, value in headers.items() if key != name}, body, NOW)
    with pytest.raises(SignatureRefused, match="base64"):
        verify_message("whsec_é", headers, body, NOW)


def test_a_new_secret_is_32_random_bytes_in_base64() -> None:
    assert new_webhook_secret(lambda size: b"\x01" * size) == "whsec_" + "AQEB" * 10 + "AQE="


@pytest.mark.parametrize(
    "secret", ["whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaSw", "whsec_MfKQ9r8", "whsec_MfKQ\n"]
)
def test_a_secret_that_is_not_quite_base64_is_refused(secret: str) -> None:
    with pytest.raises(SignatureRefused, match=r"^The secret is not in base64\.$"):
        sign_message(secret, "id", NOW, b"{}")
