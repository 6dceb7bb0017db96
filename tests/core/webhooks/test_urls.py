"""The check of a webhook URL."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.webhooks.urls import UrlRefused, check_url

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
def test_a_private_url_is_accepted_only_if_allowed(url: str) -> None:
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
