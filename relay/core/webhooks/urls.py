"""The check of a webhook's URL before it is stored."""

from __future__ import annotations

from urllib.parse import urlsplit

from relay.core.ip_addresses import is_public


class UrlRefused(ValueError):
    """A URL that no message may be sent to. The text says why."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Check a URL as far as its text allows; the address of a host name is checked when it is connected to.

    Raises UrlRefused.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused("This is not a URL.") from None
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise UrlRefused("This must be a URL like https://example.com/events.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise UrlRefused("The URL must have neither a user, a password nor a fragment.")
    if allow_private:
        return
    if parts.scheme == "http":
        raise UrlRefused("The URL must begin with https (unless webhooks.allow_private is set).")
    is_literal = ":" in host or host.rstrip(".").rpartition(".")[2].isdigit()
    if host.rstrip(".") == "localhost" or (is_literal and not is_public(host)):
        raise UrlRefused("The address is not public (and webhooks.allow_private is not set).")
