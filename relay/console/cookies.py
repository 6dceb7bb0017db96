"""Cookies of the console."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from relay.console.paths import BASE_PATH


class ConsoleCookies:
    """A writer of cookies that scripts and other sites cannot read.

    `scheme_of` returns the scheme by which the browser reached the relay: "https" behind a TLS proxy, too.
    """

    def __init__(self, scheme_of: Callable[[web.Request], str]) -> None:
        self._scheme_of = scheme_of

    def set_cookie(
        self, request: web.Request, response: web.StreamResponse, name: str, value: str, max_age_seconds: int
    ) -> None:
        """Add a cookie to `response`. It is limited to https if `request` came over https."""
        response.set_cookie(
            name,
            value,
            max_age=max_age_seconds,
            path=BASE_PATH,
            httponly=True,
            samesite="Strict",
            secure=self._scheme_of(request) == "https",
        )

    def delete_cookie(self, response: web.StreamResponse, name: str) -> None:
        """Tell the browser to drop a cookie of the console."""
        response.del_cookie(name, path=BASE_PATH)
