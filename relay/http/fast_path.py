"""The fast path: requests that are answered without a request object, a router and a task of aiohttp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage


class FastPath(Protocol):
    """A short way for the most frequent requests. It declines all others, which then go the usual way."""

    def may_take_request(self, message: RawRequestMessage) -> bool:
        """Return whether the head of a request suits, so that `take_request` is worth reading its body."""
        ...

    def take_request(
        self,
        message: RawRequestMessage,
        body: bytes,
        client_of: Callable[[RawRequestMessage], str],
        write: Callable[[bytes], None],
    ) -> bool:
        """Take a request, or return False and leave no trace of it.

        After True, `write` is called once, later, with the whole answer. `client_of` returns the caller's address.
        """
        ...


FAST_PATH: web.AppKey[FastPath] = web.AppKey("fast_path")
"""The fast path of an application. Without it, every request goes the usual way."""
