"""Who asks, and how it reached us, when reverse proxies may stand between. Only those of the settings are believed."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from relay.core.ip_addresses import Network, find_client_address, is_trusted

TRUSTED_PROXIES = web.AppKey("trusted_proxies", tuple[Network, ...])
"""The networks of http.trusted_proxies; without it nobody is believed."""


def client_of(request: web.Request) -> str:
    """The IP address of the client, "" if it has none."""
    return client_behind(request, _trusted(request))


def client_behind(request: web.BaseRequest, trusted: Sequence[Network]) -> str:
    """The same, for a request that belongs to no application."""
    return find_client_address(request.remote or "", header_values(request, "X-Forwarded-For"), trusted)


def header_values(request: web.BaseRequest, name: str) -> Sequence[str]:
    """All values of that header. What could not be parsed has none: aiohttp gives it a plain dict."""
    return request.headers.getall(name, ()) if request.headers else ()


def scheme_of(request: web.Request) -> str:
    """How the client reached us or a trusted proxy: "https" or "http". A cookie that says Secure goes by this.

    Each proxy says how it was reached itself; the last one to say so is the nearest.
    """
    said = request.headers.getall("X-Forwarded-Proto", ())
    if said and is_trusted(request.remote or "", _trusted(request)):
        last = said[-1].rpartition(",")[2].strip(" \t").lower()
        if last in ("http", "https"):
            return last
    return request.scheme


def _trusted(request: web.Request) -> tuple[Network, ...]:
    return request.config_dict.get(TRUSTED_PROXIES, ())  # the console is an application inside
