"""Decisions about pushes to device tokens: prescribed answers, Apple's checks, delivery.

Each decision is synchronous; the connection carries out the `Reply`. An `Interceptor` may answer first. The faults of
a listener (`faults`) stand in front of all this.
"""

from __future__ import annotations

import logging
from typing import Protocol

from .answers import Answers, ResolvedAnswer
from .channel_checks import BROADCAST_PREFIX
from .channel_service import Broadcasts
from .checks import CHECKS, Peer, Request, Situation, first_rejection
from .decisions import DecisionTools
from .inbox import Inbox
from .reasons import Rejection, error_body
from .receipts import Receipts
from .registry import Environment
from .replies import Reply
from .statistics import Statistics

_log = logging.getLogger(__name__)


class Interceptor(Protocol):
    """A function that answers a request in place of APNs, or returns None to let it pass."""

    def __call__(self, request: Request, peer: Peer, environment: Environment) -> Reply | None:
        """Return the reply, or None."""


class PushService:
    """Replies of api.push.apple.com and its sandbox. Pushes to channels go on to `broadcasts`.

    Attributes:
        interceptors: asked in order before the checks; may be changed at any time.
    """

    def __init__(
        self, tools: DecisionTools, inbox: Inbox, answers: Answers, receipts: Receipts, broadcasts: Broadcasts
    ) -> None:
        self.interceptors: list[Interceptor] = []
        self._tools = tools
        self._inbox = inbox
        self._answers = answers
        self._receipts = receipts
        self._broadcasts = broadcasts

    @property
    def statistics(self) -> Statistics:
        """The counters of the stand-in."""
        return self._tools.statistics

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """Return the reply to a request. An exception of the stand-in becomes a 500 InternalServerError."""
        try:
            for interceptor in self.interceptors:
                reply = interceptor(request, peer, environment)
                if reply is not None:
                    return reply
            if request.path.startswith(BROADCAST_PREFIX):
                return self._broadcasts.reply(request, peer, environment)
            return self._reply(request, peer, environment)
        except Exception as error:
            # Its text or traceback may hold a token, so only its type is logged.
            _log.error("cannot answer a request: %s", type(error).__name__)
            return self.refuse(request, Rejection("InternalServerError"))

    def refuse(self, request: Request, rejection: Rejection) -> Reply:
        """Return the reply that refuses a request with `rejection`, without any check."""
        if request.path.startswith(BROADCAST_PREFIX):
            return self._broadcasts.refuse(request, rejection)
        return self._rejected(request, self._apns_id(request), rejection)

    def is_removed(self, device_token: str) -> bool:
        """Return True if the app was removed from that device."""
        device = self._tools.registry.device(device_token)
        return device is not None and device.unregistered_ms is not None

    def remove_app(self, device_token: str) -> None:
        """Mark the app as removed from that device now. No effect on an unknown or unregistered device token."""
        device = self._tools.registry.device(device_token)
        if device is not None and device.unregistered_ms is None:
            self._tools.registry.unregister(device_token)

    def _reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        apns_id = self._apns_id(request)
        answer = self._answers.take(request.device_token)
        if answer is not None and (answer.status != 200 or answer.script.fault == "reset"):
            return self._scripted(request, apns_id, answer)
        tools = self._tools
        now = tools.clock()
        token = tools.verify_token(request, peer)
        situation = Situation(environment, tools.registry, peer, token, now, tools.token_update_seconds)
        rejection = first_rejection(CHECKS, request, situation)
        delay = 0.0 if answer is None else answer.script.delay
        if rejection is not None:
            return self._rejected(request, apns_id, rejection, delay)
        if token is not None:
            peer.bind(token)
        tools.deliver(self._inbox, request.device_token, request, peer, token, environment, apns_id)
        self._receipts.count_accepted(apns_id, request.device_token)
        self.statistics.accepted += 1
        self.statistics.statuses[200] += 1
        headers = [(b"apns-id", apns_id.encode())]
        if environment == "sandbox":
            headers.append((b"apns-unique-id", tools.new_uuid().encode()))
        body = b"" if answer is None or answer.script.body is None else answer.script.body.encode()
        return Reply(200, headers, body, delay)

    def _rejected(self, request: Request, apns_id: str, rejection: Rejection, delay: float = 0.0) -> Reply:
        self._count_rejected(rejection.status, rejection.reason)
        if rejection.timestamp is not None:
            self._receipts.note_unregistered(request.device_token, rejection.timestamp)
        body = error_body(rejection.reason, rejection.timestamp)
        return Reply(rejection.status, [(b"apns-id", apns_id.encode())], body, delay)

    def _scripted(self, request: Request, apns_id: str, answer: ResolvedAnswer) -> Reply:
        script = answer.script
        if script.fault == "reset":
            self._count_rejected(None, "reset")
            return Reply(0, [], b"", script.delay, script.code)
        self._count_rejected(answer.status, answer.reason or "unknown")
        timestamp = script.timestamp
        if timestamp is None and answer.status == 410:
            timestamp = int(self._tools.clock() * 1000)
        if timestamp is not None and answer.status == 410:
            self._receipts.note_unregistered(request.device_token, timestamp)
        if script.fault == "no_body":
            body = b""
        elif script.body is not None:
            body = script.body.encode()
        elif answer.reason is not None:
            body = error_body(answer.reason, timestamp)
        else:
            body = b""
        return Reply(answer.status, [(b"apns-id", apns_id.encode())], body, script.delay)

    def _count_rejected(self, status: int | None, reason: str) -> None:
        self.statistics.rejected[reason] += 1
        if status is not None:
            self.statistics.statuses[status] += 1

    def _apns_id(self, request: Request) -> str:
        return self._tools.stated_or_new_uuid(request, "apns-id")
