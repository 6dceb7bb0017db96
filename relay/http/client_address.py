"""The address and scheme of a client behind reverse proxies. Only proxies of `http.trusted_proxies` are believed."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from relay.core.ip_addresses import Network, find_client_address, is_trusted

TRUSTED_PROXIES = web.AppKey("trusted_proxies", tuple[Network, ...])
"""The networks of `http.trusted_proxies`. Without it no proxy is believed."""
_SCHEMES = ("http", "https")


def client_of(request: web.BaseRequest, trusted: Sequence[Network]) -> str:
    """Return the IP address of the client, "" if the connection has none (a UNIX socket)."""
    return find_client_address(request.remote or "", header_values(request, "X-Forwarded-For"), trusted)


def header_values(request: web.BaseRequest, name: str) -> Sequence[str]:
    """Return all values of a header. A request that could not be parsed has none: its headers are a plain dict."""
    return request.headers.getall(name, ()) if request.headers else ()


def scheme_of(request: web.Request) -> str:
    """Return "https" or "http": how the client reached the relay, or its trusted proxy.

    Every proxy adds how it was reached itself, so the last value is that of the nearest proxy.
    """
    forwarded = request.headers.getall("X-Forwarded-Proto", ())
    trusted = request.config_dict.get(TRUSTED_PROXIES, ())  # of the outer application, for the console
    if forwarded and is_trusted(request.remote or "", trusted):
        scheme = forwarded[-1].rpartition(",")[2].strip(" \t").lower()
        if scheme in _SCHEMES:
            return scheme
    return request.scheme
