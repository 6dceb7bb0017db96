"""From a complete request to the reply it gets: prescribed answers, Apple's checks, delivery.

Everything here is decided synchronously; the connection acts on the `Reply`. Other ways to misbehave are
further `Interceptor`s, asked in order before the checks, and the faults of a listener (`faults`).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Protocol

from .answers import Answers, Resolved
from .channel_checks import BROADCAST_PREFIX
from .channel_service import Broadcasts
from .checks import UUID_FORM, Peer, Request, Situation, judge
from .inbox import Inbox, Notification
from .provider_tokens import ReceivedProviderToken, Verifier
from .reasons import Rejection, error_body
from .receipts import Receipts
from .registry import Environment, StandInRegistry
from .replies import REDACTED, Reply
from .statistics import Statistics

_log = logging.getLogger(__name__)


class Interceptor(Protocol):
    """Answers a request in place of APNs, or returns None to let it pass."""

    def __call__(self, request: Request, peer: Peer, environment: Environment) -> Reply | None:
        """The reply, or None."""


class Service:
    """What both listeners of APNs ask for a reply; `broadcasts` answers pushes to channels.

    `interceptors` may be changed at any time.
    """

    def __init__(
        self,
        registry: StandInRegistry,
        inbox: Inbox,
        answers: Answers,
        statistics: Statistics,
        receipts: Receipts,
        broadcasts: Broadcasts,
        *,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        token_update_seconds: float,
    ) -> None:
        self.interceptors: list[Interceptor] = []
        self._registry = registry
        self._inbox = inbox
        self._answers = answers
        self.statistics = statistics
        self._receipts = receipts
        self._broadcasts = broadcasts
        self._clock = clock
        self._random_bytes = random_bytes
        self._token_update_seconds = token_update_seconds
        self._verifier = Verifier(registry)

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """The reply to a request. A fault of ours is Apple's 500, and never the connection's end."""
        try:
            for interceptor in self.interceptors:
                reply = interceptor(request, peer, environment)
                if reply is not None:
                    return reply
            if request.path.startswith(BROADCAST_PREFIX):
                return self._broadcasts.reply(request, peer, environment)
            return self._reply(request, peer, environment)
        except Exception as error:
            # Its text or traceback may hold a token, so only where it happened is logged.
            _log.error("cannot answer a request: %s", type(error).__name__)
            return self.refuse(request, Rejection("InternalServerError"))

    def refuse(self, request: Request, rejection: Rejection) -> Reply:
        """The reply that does not accept a request, whatever the checks would say."""
        if request.path.startswith(BROADCAST_PREFIX):
            return self._broadcasts.refuse(request, rejection)
        return self._rejected(request, self._apns_id(request), rejection)

    def is_removed(self, device_token: str) -> bool:
        """Whether the app is gone from that device."""
        device = self._registry.device(device_token)
        return device is not None and device.unregistered_ms is not None

    def remove_app(self, device_token: str) -> None:
        """The app is removed from that device now, unless it was before or never was there."""
        device = self._registry.device(device_token)
        if device is not None and device.unregistered_ms is None:
            self._registry.unregister(device_token)

    def _reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        apns_id = self._apns_id(request)
        answer = self._answers.take(request.device_token)
        if answer is not None and (answer.status != 200 or answer.script.fault == "reset"):
            return self._scripted(request, apns_id, answer)
        now = self._clock()
        bearer = request.bearer
        token = self._verifier.verify(bearer) if bearer is not None and peer.certificate is None else None
        situation = Situation(environment, self._registry, peer, token, now, self._token_update_seconds)
        rejection = judge(request, situation)
        delay = 0.0 if answer is None else answer.script.delay
        if rejection is not None:
            return self._rejected(request, apns_id, rejection, delay)
        self._deliver(request, peer, token, environment, now, apns_id)
        headers = [(b"apns-id", apns_id.encode())]
        if environment == "sandbox":
            headers.append((b"apns-unique-id", self._uuid().encode()))
        body = b"" if answer is None or answer.script.body is None else answer.script.body.encode()
        return Reply(200, headers, body, delay)

    def _deliver(
        self,
        request: Request,
        peer: Peer,
        token: ReceivedProviderToken | None,
        environment: Environment,
        now: float,
        apns_id: str,
    ) -> None:
        if token is not None:
            peer.bind(token)
            team_id, key_id = token.team_id, token.key.key_id
        else:
            team_id, key_id = (peer.certificate.team_id if peer.certificate else ""), None
        device_token = request.device_token
        headers = request.headers
        if "authorization" in headers:
            headers["authorization"] = REDACTED
        index, feed_index = self._inbox.next_index(device_token)
        self._inbox.add(
            Notification(
                index,
                feed_index,
                device_token,
                environment,
                int(now * 1000),
                apns_id,
                headers,
                request.body,
                team_id,
                key_id,
            )
        )
        self._receipts.accepted(apns_id, device_token)
        self.statistics.accepted += 1
        self.statistics.statuses[200] += 1

    def _rejected(self, request: Request, apns_id: str, rejection: Rejection, delay: float = 0.0) -> Reply:
        self._count(rejection.status, rejection.reason)
        if rejection.timestamp is not None:
            self._receipts.unregistered(request.device_token, rejection.timestamp)
        body = error_body(rejection.reason, rejection.timestamp)
        return Reply(rejection.status, [(b"apns-id", apns_id.encode())], body, delay)

    def _scripted(self, request: Request, apns_id: str, answer: Resolved) -> Reply:
        script = answer.script
        if script.fault == "reset":
            self._count(None, "reset")
            return Reply(0, [], b"", script.delay, script.code)
        self._count(answer.status, answer.reason or "unknown")
        timestamp = script.timestamp
        if timestamp is None and answer.status == 410:
            timestamp = int(self._clock() * 1000)
        if timestamp is not None and answer.status == 410:
            self._receipts.unregistered(request.device_token, timestamp)
        if script.fault == "no_body":
            body = b""
        elif script.body is not None:
            body = script.body.encode()
        elif answer.reason is not None:
            body = error_body(answer.reason, timestamp)
        else:
            body = b""
        return Reply(answer.status, [(b"apns-id", apns_id.encode())], body, script.delay)

    def _count(self, status: int | None, reason: str) -> None:
        self.statistics.rejected[reason] += 1
        if status is not None:
            self.statistics.statuses[status] += 1

    def _apns_id(self, request: Request) -> str:
        """The request's own apns-id, if it is a UUID, else a new one."""
        stated = request.headers.get("apns-id", "")
        return stated if UUID_FORM.fullmatch(stated) else self._uuid()

    def _uuid(self) -> str:
        return str(uuid.UUID(bytes=self._random_bytes(16), version=4))
