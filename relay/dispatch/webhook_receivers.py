"""The publishers' servers, to which messages of webhooks are sent.

Whoever makes a webhook chooses where the relay connects to, so what counts is the address of the socket, at the moment
at which it is made: a name can lead anywhere, and elsewhere a second later. No redirect is followed, no proxy of the
environment used, no cookie kept, and of the answer nothing but its status.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from relay.core.ip_addresses import is_public
from relay.core.webhooks.messages import Attempt
from relay.core.webhooks.signatures import sign_message
from relay.core.webhooks.urls import UrlRefused, check_url

_CONNECTIONS = 512
_LOOKUPS = 8
"""Names that are looked up at the same time. In threads of their own: one whose servers don't answer takes long, and
must not be in the way of looking up Apple's."""
_READ = 4096
"""Bytes of an answer that are read, so that a connection with a short one can be used again."""
_HEADERS = {"Content-Type": "application/json", "User-Agent": "push-relay", "Accept": "*/*"}


class _Refused(OSError):
    """The address is one that nothing is sent to."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "not allowed")


class HttpReceivers:
    """Sends messages over HTTPS. With `allow_private` also to addresses that are not public, there over HTTP too.

    `timeout` is in seconds, for everything from the look-up of the name to the answer; `ca_file` replaces the system's
    trusted authorities. Use `aclose()` at the end.
    """

    def __init__(self, *, allow_private: bool, timeout: float, ca_file: str | None = None) -> None:
        self._allow_private = allow_private
        self._timeout = timeout
        self._ca_file = ca_file
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._resolver: _Resolver | None = None

    async def send(self, url: str, secret: str, message_id: str, body: bytes, now: datetime) -> Attempt:
        """Sign a message and send it once. Never raises; `error` is a sentence."""
        try:
            check_url(url, allow_private=self._allow_private)
            headers = _HEADERS | sign_message(secret, message_id, now, body)
            async with self._session(url).post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.content.read(_READ)
                return Attempt(answer.status, _words(answer.status))
        except UrlRefused as error:
            return Attempt(None, str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt(None, self._why(error))

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        if self._resolver is not None:
            self._resolver.end()

    def _session(self, url: str) -> aiohttp.ClientSession:
        """The session of the URL's scheme, made when it is first needed."""
        scheme = url.partition(":")[0].lower()
        if scheme not in self._sessions:
            self._resolver = self._resolver or _Resolver()
            connector = aiohttp.TCPConnector(
                limit=_CONNECTIONS,
                resolver=self._resolver,
                use_dns_cache=False,
                socket_factory=self._https_socket if scheme == "https" else self._http_socket,
                ssl=ssl.create_default_context(cafile=self._ca_file),
            )
            self._sessions[scheme] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._sessions[scheme]

    # --- the one place that every connection comes through ---

    def _https_socket(self, address: Any) -> socket.socket:
        if not (self._allow_private or is_public(address[4][0])):
            raise _Refused
        return _socket(address)

    def _http_socket(self, address: Any) -> socket.socket:
        if not self._allow_private or is_public(address[4][0]):
            raise _Refused
        return _socket(address)

    def _why(self, error: Exception) -> str:
        """What is told of an error of the network. The texts of others name addresses: they are not repeated."""
        cause = getattr(error, "os_error", None) if isinstance(error, aiohttp.ClientConnectorError) else None
        if isinstance(cause, _Refused):
            return "The host's address is not one that messages may be sent to."
        if isinstance(error, TimeoutError):
            return f"There was no answer within {self._timeout:g} seconds."
        for kind, words in _WORDS:
            if isinstance(error, kind):
                return words
        return "The answer is not HTTP."


_WORDS = (
    (aiohttp.ClientConnectorDNSError, "The name of the host cannot be resolved."),
    (aiohttp.ClientConnectorCertificateError, "The host's certificate is not valid."),
    (aiohttp.ClientSSLError, "There is no TLS connection to the host."),
    (aiohttp.ClientConnectorError, "The host refuses the connection, or cannot be reached."),
    (aiohttp.InvalidURL, "The URL cannot be used."),
    (aiohttp.ClientConnectionError, "The connection ended without an answer."),
    (OSError, "The connection ended without an answer."),
)
"""What each kind of error means, the more special ones first."""


def _words(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return "The answer is a redirect; redirects are not followed."
    return f"The answer was {status}."


def _socket(address: Any) -> socket.socket:
    family, kind, protocol = address[:3]
    return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """The system's, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, where in found
        ]

    async def close(self) -> None:
        """Nothing: a connector closes its resolver, and this one is shared."""

    def end(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
