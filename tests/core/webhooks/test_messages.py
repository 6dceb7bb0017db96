"""Messages of webhooks: what they say, how they are signed, where they may go."""

from __future__ import annotations

import contextlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.webhooks.messages import (
    EVENT_OF_OUTCOME,
    MAX_COPIES,
    CopyName,
    SignatureRefused,
    UrlRefused,
    check_url,
    completed_push,
    ended_deliveries,
    message,
    new_secret,
    signed_headers,
    verify,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUSH = UUID(int=7)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one of Standard Webhooks' own examples."""


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The vector of the specification's reference libraries."""
    body = b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)
    assert signed_headers(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(), st.integers(-290, 290))
def test_a_genuine_message_is_believed(body: bytes, late: int) -> None:
    secret = new_secret(secrets.token_bytes)
    headers = signed_headers(secret, "id", NOW, body)
    verify(secret, headers, body, NOW + timedelta(seconds=late))
    other = headers | {"webhook-signature": f"v1a,x v1,AAAA {headers['webhook-signature']}"}
    verify(secret, other, body, NOW)


def test_any_other_is_not() -> None:
    body = b'{"type":"webhook.test"}'
    headers = signed_headers(SECRET, "id", NOW, body)
    for late in (-301, 302):
        with pytest.raises(SignatureRefused, match="too far"):
            verify(SECRET, headers, body, NOW + timedelta(seconds=late))
    with pytest.raises(SignatureRefused, match="No signature"):
        verify(new_secret(secrets.token_bytes), headers, body, NOW)
    with pytest.raises(SignatureRefused, match="No signature"):
        verify(SECRET, headers, body + b" ", NOW)
    with pytest.raises(SignatureRefused, match="No signature"):
        verify(SECRET, headers | {"webhook-id": "other"}, body, NOW)
    with pytest.raises(SignatureRefused, match="No signature"):
        verify(SECRET, headers | {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, body, NOW)
    with pytest.raises(SignatureRefused, match="not in seconds"):
        verify(SECRET, headers | {"webhook-timestamp": "now"}, body, NOW)
    for name in headers:
        with pytest.raises(SignatureRefused, match=name):
            verify(SECRET, {key: value for key, value in headers.items() if key != name}, body, NOW)
    with pytest.raises(SignatureRefused, match="base64"):
        verify("whsec_é", headers, body, NOW)


def test_the_largest_message_is_one_that_a_receiver_must_take() -> None:
    name = CopyName("c_" + 44 * "x", "d_" + 44 * "x", "abcde")
    data = ended_deliveries(64 * "a", PUSH, "unregistered", 410, "Unregistered", [name] * MAX_COPIES)
    assert len(message("device.unregistered", NOW, data)) < 256 * 1024


def test_a_completed_push_has_every_count() -> None:
    data = completed_push(
        "chess", PUSH, NOW, 5, 1, [("delivered", "", 3), ("new", "x", 1), ("failed", "x", 1)]
    )
    body = json.loads(message("push.completed", NOW, data))
    assert body == {
        "type": "push.completed",
        "timestamp": "2026-03-01T12:00:00Z",
        "data": {
            "app_id": "chess",
            "push_id": str(PUSH),
            "created_at": "2026-03-01T12:00:00Z",
            "targets": 5,
            "counts": {
                **dict.fromkeys(("failed", "unregistered", "expired", "cancelled"), 0),
                "delivered": 3,
                "failed": 1,
                "new": 1,
                "skipped": 1,
            },
            "reasons": {"x": 2},
        },
    }


def test_of_a_delivered_or_cancelled_one_nothing_is_told() -> None:
    assert not EVENT_OF_OUTCOME.keys() & {"delivered", "cancelled"}


GOOD = [
    "https://example.com",
    "https://example.com:8443/events?token=x&y=%20",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://xn--bcher-kva.example/@me",
]
PRIVATE = [
    "http://example.com/",
    "https://localhost/",
    "https://LOCALHOST.:8080/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://10.0.0.1./",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "http://127.0.0.1:8080/",
]
BAD = [
    "ftp://example.com/",
    "https://",
    "https:///path",
    "https://:443/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://example.com/#part",
    "https://example.com:0/",
    "https://example.com:99999/",
    "https://example.com:x/",
    "https://[::1/",
    "//example.com/",
    "",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url(url: str) -> None:
    check_url(url, allow_private=False)
    check_url(url, allow_private=True)


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_one_only_where_that_is_allowed(url: str) -> None:
    with pytest.raises(UrlRefused, match=r"webhooks\.allow_private"):
        check_url(url, allow_private=False)
    check_url(url, allow_private=True)


@pytest.mark.parametrize("url", BAD)
def test_a_bad_url_is_never_allowed(url: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(UrlRefused):
            check_url(url, allow_private=allow_private)


@given(st.text())
def test_any_text_is_a_url_or_refused(text: str) -> None:
    with contextlib.suppress(UrlRefused):
        check_url(text, allow_private=True)
