"""A send request at the door: from the body of `POST /v1.0/send/` to a frozen value nobody checks again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from relay.core import payload as payloads
from relay.core.identifiers import Identifiers
from relay.core.push_types import PUSH_TYPES, VOIP_LIMIT, PushType, default_push_type
from relay.core.sending import PushHeaders
from relay.core.strict_json import pointer_token
from relay.errors import Fault, Invalid

MAX_DESTINATIONS = 50_000
MAX_FAULTS = 1000
"""So many wrong destinations are named one by one; the rest is counted."""
_MAX_COLLAPSE_ID = 64
_MAX_EPOCH = 2**32 - 1
_UNKNOWN_TYPE = PushType("this push type", limit=VOIP_LIMIT, needs_aps=False)
"""Stands for a push type that does not exist: what holds for every type can still be checked."""


class SendBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body as the PHP sender posts it, and our optional fields."""

    app_id: str
    payload: Any
    destinations: Any
    push_type: str | None = None
    priority: int | None = None
    expiration: int | None = None
    ttl: int | None = None
    collapse_id: str | None = None
    debug: bool = False


class Lifetimes(NamedTuple):
    """How long the relay itself keeps trying (seconds): without an expiration, and for expiration 0."""

    keep: float
    immediate: float


@dataclass(slots=True, repr=False)
class PushRequest:
    """A checked request. `customers` and `devices` are verified identifiers, `devices` without repeats."""

    app_id: str
    push_id: UUID
    token_id: UUID
    accepted_at: datetime
    expires_at: datetime
    headers: PushHeaders
    token_kind: str
    payload: bytes
    debug: bool
    customers: Sequence[str]
    devices: Sequence[str]
    everyone: bool = False
    """Every customer of the app, now; then there are no other destinations."""
    warnings: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A push that is durable. `targets` installations will be tried; `skipped` are not on the test-device list.

    Both are None where they are not known yet: a push to everyone is counted while it is cut into batches.
    """

    push_id: UUID
    targets: int | None
    skipped: int | None
    warnings: Sequence[Fault]


class Acceptor(Protocol):
    """The way in: group commit, seen from the API."""

    async def accept(self, request: PushRequest) -> Accepted:
        """Returns when the push is durable. Raises Unavailable if it is not."""


def check_headers(
    body: SendBody, now: datetime, lifetimes: Lifetimes
) -> tuple[PushType, PushHeaders, datetime]:
    """Push type, request headers and the moment at which the relay stops trying. Raises Invalid."""
    faults: list[Fault] = []
    push_type = _push_type(body, faults)
    priority = body.priority if body.priority is not None else push_type.priorities[0]
    if priority not in push_type.priorities:
        allowed = ", ".join(map(str, push_type.priorities))
        faults.append(Fault("invalid_value", "/priority", f"{push_type.name} allows priority {allowed}."))
    expiration = _expiration(body, push_type, now, faults)
    if body.collapse_id is not None:
        _check_collapse_id(body.collapse_id, faults)
    if faults:
        raise Invalid(faults=faults)
    longest = now + timedelta(seconds=lifetimes.keep)
    expires_at = longest
    if expiration == 0:
        expires_at = now + timedelta(seconds=lifetimes.immediate)
    elif expiration is not None:
        expires_at = min(longest, datetime.fromtimestamp(expiration, now.tzinfo))
    return push_type, PushHeaders(push_type.name, priority, expiration, body.collapse_id), expires_at


def _push_type(body: SendBody, faults: list[Fault]) -> PushType:
    if body.push_type is None:
        return default_push_type(body.payload if isinstance(body.payload, dict) else {})
    known = PUSH_TYPES.get(body.push_type)
    if known is None:
        faults.append(Fault("invalid_value", "/push_type", f"The push types are {', '.join(PUSH_TYPES)}."))
        return _UNKNOWN_TYPE
    return known


def _expiration(body: SendBody, push_type: PushType, now: datetime, faults: list[Fault]) -> int | None:
    if body.ttl is not None and body.expiration is not None:
        faults.append(Fault("not_allowed", "/ttl", "Give either `ttl` or `expiration`."))
    elif body.ttl is not None:
        if not 0 <= body.ttl <= 31_536_000:
            faults.append(Fault("invalid_value", "/ttl", "`ttl` is seconds, from 0 to one year."))
        return math.ceil(now.timestamp()) + body.ttl if body.ttl else 0
    elif body.expiration is not None:
        if not 0 <= body.expiration <= _MAX_EPOCH:
            faults.append(Fault("invalid_value", "/expiration", "`expiration` is epoch seconds, or 0."))
        elif 0 < body.expiration <= now.timestamp():
            faults.append(
                Fault("invalid_value", "/expiration", "`expiration` (epoch seconds) is in the past.")
            )
        return body.expiration
    return push_type.default_expiration


def _check_collapse_id(collapse_id: str, faults: list[Fault]) -> None:
    try:
        size = len(collapse_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_COLLAPSE_ID:
        detail = f"`collapse_id` has 1 to {_MAX_COLLAPSE_ID} bytes of UTF-8."
        faults.append(Fault("invalid_value", "/collapse_id", detail))
    elif not collapse_id.isprintable() or collapse_id != collapse_id.strip():
        detail = "`collapse_id` becomes a header: no control characters, no space at either end."
        faults.append(Fault("invalid_value", "/collapse_id", detail))


def check_payload(body: SendBody) -> payloads.Checked:
    """The payload of the body, checked for its push type and encoded. Raises Invalid."""
    return payloads.check(body.payload, _push_type(body, []))


EVERYONE = "all"
"""As `destinations`: every customer of the app."""


def check_destinations(destinations: Any) -> Mapping[str, Sequence[str]]:
    """The shape of `destinations` other than EVERYONE: a map from c_ to a list of d_, of bounded size.

    Raises Invalid.
    """
    pointer = "/destinations"
    if not isinstance(destinations, dict):
        empty = " PHP writes an empty map as []: name at least one customer." if destinations == [] else ""
        detail = f'`destinations` must map customer identifiers to lists of device identifiers, or be "all".{empty}'
        raise Invalid(faults=[Fault("wrong_type", pointer, detail)])
    if not destinations:
        raise Invalid(faults=[Fault("empty", pointer, "There are no destinations.")])
    count = 0
    for customer, devices in destinations.items():
        if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
            detail = "This must be a list of device identifiers; [] means all devices of the customer."
            raise Invalid(faults=[Fault("wrong_type", f"{pointer}/{pointer_token(customer)}", detail)])
        count += max(1, len(devices))
    if count > MAX_DESTINATIONS:
        detail = f"There are {count} destinations; {MAX_DESTINATIONS} are allowed."
        raise Invalid(faults=[Fault("too_many", pointer, detail)])
    return destinations


class DestinationCheck:
    """Verifies every identifier of a request against its app; no query is needed for that.

    Iterate over `slices()` and it yields after every few hundred identifiers, so that a large request can let
    others run in between. Then `customers` (whole ones) and `devices` hold what is wanted; `finish()` raises
    Invalid naming each identifier that is malformed, forged, of another app or of another customer.
    """

    def __init__(
        self, identifiers: Identifiers, app_id: str, destinations: Mapping[str, Sequence[str]]
    ) -> None:
        self._identifiers = identifiers
        self._app_id = app_id
        self._destinations = destinations
        self._faults: list[Fault] = []
        self._wrong = 0
        self.customers: list[str] = []
        self.devices: dict[str, None] = {}

    def slices(self, size: int = 500) -> Iterator[None]:
        """Do the work, yielding after every `size` identifiers."""
        done = 0
        for customer, devices in self._destinations.items():
            done += 1 + self._check(customer, devices)
            if done >= size:
                done = 0
                yield

    def finish(self) -> None:
        """Raises Invalid if any identifier was refused."""
        if self._wrong > len(self._faults):
            detail = f"{self._wrong} identifiers are wrong; {len(self._faults)} of them are named."
            self._faults.append(Fault("too_many", "/destinations", detail))
        if self._faults:
            raise Invalid(
                "Some destinations are not identifiers of this app; nothing was sent.", self._faults
            )

    def _check(self, customer: str, devices: Sequence[str]) -> int:
        pointer = f"/destinations/{pointer_token(customer)}"
        if not self._identifiers.is_customer(self._app_id, customer):
            self._refuse("invalid_customer", pointer, "This is not a customer identifier of this app.")
        elif not devices:
            self.customers.append(customer)
        else:
            for index, device in enumerate(devices):
                if self._identifiers.is_device(self._app_id, customer, device):
                    self.devices[device] = None
                else:
                    detail = "This is not a device identifier of this customer in this app."
                    self._refuse("invalid_device", f"{pointer}/{index}", detail)
        return len(devices)

    def _refuse(self, code: str, pointer: str, detail: str) -> None:
        self._wrong += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(code, pointer, detail))
