"""Faults of a listener: what can go wrong between a provider and APNs, played until it is cleared.

Most faults strike a share of the requests, decided for each request, and change its `Reply`. The faults in
`LISTENER_KINDS` concern the listener as a whole. Several faults may be on at once.

A fault either leaves a push without any effect, or lets it be received and loses the answer. Where both happen in
reality, `received` is the share of the latter.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Literal, Protocol, get_args

import msgspec
from h2.errors import ErrorCodes

from .checks import Peer, Request
from .reasons import Rejection
from .registry import Environment
from .replies import Reply
from .statistics import Statistics

ListenerKind = Literal["one_stream", "tls_failure", "connection_refused"]
RequestKind = Literal[
    "goaway",
    "goaway_unprocessed",
    "refused_stream",
    "cancel",
    "internal_error",
    "no_error",
    "tcp_reset",
    "stall",
    "slow",
    "no_body",
    "html",
    "split_body",
    "too_many_requests",
    "internal_server_error",
    "service_unavailable",
    "expired_provider_token",
    "invalid_provider_token",
    "unregistered_before",
    "unregistered_now",
]
FaultKind = RequestKind | ListenerKind
LISTENER_KINDS: Final[tuple[str, ...]] = get_args(ListenerKind)
KINDS: Final[tuple[str, ...]] = (*get_args(RequestKind), *LISTENER_KINDS)
OUTCOME_UNKNOWN: Final = frozenset({"cancel", "internal_error", "tcp_reset", "stall"})
"""The kinds after which a client cannot know if a push was received, so that it sends the push again."""

_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
_LONG_AGO_MS: Final = 24 * 3600 * 1000
_REASONS: Final = {
    "too_many_requests": "TooManyRequests",
    "internal_server_error": "InternalServerError",
    "service_unavailable": "ServiceUnavailable",
    "expired_provider_token": "ExpiredProviderToken",
    "invalid_provider_token": "InvalidProviderToken",
}


class ListenerFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault of a listener.

    Attributes:
        kind: what happens.

            - goaway: GOAWAY; streams that have begun are answered, then the connection closes.
            - goaway_unprocessed: GOAWAY with a `last_stream_id` below streams that have arrived; those are not
              received.
            - refused_stream: RST_STREAM REFUSED_STREAM; not received.
            - cancel, internal_error: RST_STREAM CANCEL, INTERNAL_ERROR; received or not.
            - no_error: a complete answer, and then RST_STREAM NO_ERROR.
            - tcp_reset: the TCP connection is reset; the push that met it is received or not.
            - stall: the connection is read, and nothing is sent on it any more.
            - slow: the answer comes after `seconds`.
            - no_body: 503 without a body.
            - html: 502 with an HTML page or, if received, 200 with the page.
            - split_body: 503 or, if received, 200, with a body in DATA frames of one byte.
            - too_many_requests (429), internal_server_error, service_unavailable, expired_provider_token,
              invalid_provider_token (403): Apple's answer; not received.
            - unregistered_before: 410 with a time one day ago, unless the app was removed.
            - unregistered_now: the app is removed; 410 with the present time, now and at every later push to that
              device token.
            - one_stream: SETTINGS allow one concurrent stream.
            - tls_failure: handshakes fail; open connections get a GOAWAY.
            - connection_refused: the port is closed; open connections get a GOAWAY.
        share: probability per request (tls_failure: per handshake). Without effect on one_stream and
            connection_refused.
        received: probability that a push is received, for kinds with both outcomes.
        seconds: delay of `slow`.
    """

    kind: FaultKind
    share: float = 1.0
    received: float = 0.5
    seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if not 0 < self.share <= 1:
            raise ValueError("share must be above 0 and at most 1")
        if not 0 <= self.received <= 1:
            raise ValueError("received must be between 0 and 1")
        if not 0 <= self.seconds <= 3600:
            raise ValueError("seconds must be between 0 and 3600")


class Answering(Protocol):
    """The service behind a listener."""

    @property
    def statistics(self) -> Statistics:
        """The counters of the stand-in."""

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """Return the usual reply to a request."""

    def refuse(self, request: Request, rejection: Rejection) -> Reply:
        """Return the reply that refuses a request with `rejection`."""

    def is_removed(self, device_token: str) -> bool:
        """Return True if the app was removed from that device."""

    def remove_app(self, device_token: str) -> None:
        """Mark the app as removed from that device now."""


class Faults:
    """The faults of one listener. `chance` decides shares; `clock` gives epoch seconds."""

    def __init__(self, service: Answering, chance: random.Random, clock: Callable[[], float]) -> None:
        self._service = service
        self._chance = chance
        self._clock = clock
        self._active: dict[str, ListenerFault] = {}

    def set(self, fault: ListenerFault) -> None:
        """Switch a fault on; it replaces an earlier fault of its kind."""
        self._active[fault.kind] = fault

    def clear(self, kind: str) -> None:
        """Switch the fault of that kind off."""
        self._active.pop(kind, None)

    def active(self) -> list[ListenerFault]:
        """Return the faults that are on."""
        return list(self._active.values())

    def is_on(self, kind: ListenerKind) -> bool:
        """Return True if that fault of the listener is on."""
        return kind in self._active

    def strikes(self, kind: ListenerKind) -> bool:
        """Return True, and count it, if that fault is on and its share strikes."""
        fault = self._active.get(kind)
        if fault is None or self._chance.random() >= fault.share:
            return False
        self._service.statistics.faults[kind] += 1
        return True

    def reply(self, request: Request, peer: Peer, environment: Environment) -> Reply:
        """Return the reply to a request: the usual reply, or that of the first fault that strikes."""
        for fault in self._active.values():
            if fault.kind not in LISTENER_KINDS and self._chance.random() < fault.share:
                self._service.statistics.faults[fault.kind] += 1
                return self._play(fault, request, lambda: self._service.reply(request, peer, environment))
        return self._service.reply(request, peer, environment)

    def _play(self, fault: ListenerFault, request: Request, usual: Callable[[], Reply]) -> Reply:
        match fault.kind:
            case "goaway" | "no_error" | "slow":
                return _changed(usual(), fault)
            case "goaway_unprocessed":
                return Reply(0, [], connection="goaway_unprocessed")
            case "refused_stream":
                return Reply(0, [], reset=ErrorCodes.REFUSED_STREAM)
            case "cancel" | "internal_error":
                self._lose_answer(fault, usual)
                code = ErrorCodes.CANCEL if fault.kind == "cancel" else ErrorCodes.INTERNAL_ERROR
                return Reply(0, [], reset=code)
            case "tcp_reset" | "stall":
                self._lose_answer(fault, usual)
                return Reply(0, [], connection="reset" if fault.kind == "tcp_reset" else "stall")
            case "no_body" | "html" | "split_body":
                return self._odd_body(fault, request, usual)
            case "unregistered_before":
                if self._service.is_removed(request.device_token):
                    return usual()  # APNs does not take back the true time of removal
                long_ago = int(self._clock() * 1000) - _LONG_AGO_MS
                return self._service.refuse(request, Rejection("Unregistered", long_ago))
            case "unregistered_now":
                self._service.remove_app(request.device_token)
                return usual()
            case _:
                return self._service.refuse(request, Rejection(_REASONS[fault.kind]))

    def _odd_body(self, fault: ListenerFault, request: Request, usual: Callable[[], Reply]) -> Reply:
        if fault.kind != "no_body" and self._chance.random() < fault.received:
            reply = usual()
            body = reply.body or (_HTML if fault.kind == "html" else b'{"received": true}')
        else:
            reply = self._service.refuse(request, Rejection("ServiceUnavailable"))
            body = reply.body
        match fault.kind:
            case "no_body":
                return msgspec.structs.replace(reply, body=b"")
            case "html":
                status = 200 if reply.status == 200 else 502
                return msgspec.structs.replace(reply, status=status, body=_HTML)
            case _:
                return msgspec.structs.replace(reply, body=body, frame_bytes=1)

    def _lose_answer(self, fault: ListenerFault, usual: Callable[[], Reply]) -> None:
        """Let the fault's share of pushes be received, without any answer."""
        if self._chance.random() < fault.received and usual().status == 200:
            self._service.statistics.answers_at_risk += 1


def _changed(reply: Reply, fault: ListenerFault) -> Reply:
    match fault.kind:
        case "goaway":
            return msgspec.structs.replace(reply, connection="goaway")
        case "no_error":
            return msgspec.structs.replace(reply, reset_after=ErrorCodes.NO_ERROR)
        case _:
            return msgspec.structs.replace(reply, delay=reply.delay + fault.seconds)
