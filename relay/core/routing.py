"""Destinations and installations -> deliveries. The rules, once:

- a customer means every copy on every device of that customer; a device means every copy on that device, and no
  other device of the customer;
- each installation at most once per push, each device token at most once per push;
- with `debug` (or a test-only token) only listed test devices are reached; the others are counted as skipped;
- a destination that reaches nothing is a warning, not an error;
- each copy goes out under its own topic, to its own environment, with the credential of its own team.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.ids import ApnsIds
from relay.core.push_types import PUSH_TYPES
from relay.core.sending import Credential, Environment, PushHeaders, SendBatch
from relay.core.strict_json import pointer_token
from relay.errors import Fault


class Copy(NamedTuple):
    """An installation with its device token: where a push to it goes, and with what."""

    installation_id: int
    bundle_id: str
    team_id: str
    environment: Environment | None
    token: bytes
    registered_at: datetime


class Reach(NamedTuple):
    """A copy that a destination reaches: `destination` is the identifier that was asked for."""

    destination: str
    listed: bool
    copy: Copy


class Route(NamedTuple):
    """The copies of a push by installation, how many were skipped, and what could not be reached."""

    copies: dict[int, Copy]
    skipped: int
    warnings: list[Fault]


def route(
    customers: Sequence[str], devices: Iterable[str], reached: Iterable[Reach], *, listed_only: bool
) -> Route:
    """The route of one push from the copies its destinations reach."""
    copies: dict[int, Copy] = {}
    skipped: set[int] = set()
    heard: set[str] = set()
    for destination, listed, copy in reached:
        heard.add(destination)
        if listed_only and not listed:
            skipped.add(copy.installation_id)
        else:
            copies[copy.installation_id] = copy
    warnings = [
        Fault("unreachable", f"/destinations/{pointer_token(name)}", "No installation with a device token.")
        for name in (*customers, *devices)
        if name not in heard
    ]
    return Route(copies, len(skipped), warnings)


# --- from claimed batches to what is handed to APNs ---


@dataclass(slots=True, repr=False)
class ClaimedBatch:
    """A batch of one push that this node holds the lease of. `attempt` counts from 0."""

    app_id: str
    push_id: UUID
    batch_id: int
    attempt: int
    installations: Sequence[int]
    payload: bytes
    headers: PushHeaders
    accepted_at: datetime
    expires_at: datetime
    last_reason: str = ""
    """Why it was not delivered at the attempt before, or ""."""


class ListedDevice(NamedTuple):
    """A listed copy: the publisher's label and its failure domain."""

    label: str
    failure_domain: str


@dataclass(slots=True, repr=False)
class Leg:
    """One send batch and whose it is: the copies go by index, like its tokens and answers."""

    batch: ClaimedBatch
    send: SendBatch
    copies: list[Copy]
    credential: Credential | None = None
    test_device: ListedDevice | None = None


@dataclass(slots=True, repr=False)
class Plan:
    """What becomes of claimed batches. Every installation of every batch is in exactly one of these."""

    lanes: dict[int, list[Leg]] = field(default_factory=dict)
    """By credential id: what can be sent now."""
    simulated: list[Leg] = field(default_factory=list)
    """Test devices with a failure domain: Apple is not asked."""
    held: list[tuple[ClaimedBatch, int, list[int]]] = field(default_factory=list)
    """(batch, credential id or 0, installations): their credential is suspended or missing."""
    tokenless: list[tuple[ClaimedBatch, list[int]]] = field(default_factory=list)
    """Installations that have no device token any more, or a token that another copy has already."""


FindCredential = Callable[[str, Environment, str], tuple[Credential | None, int]]
"""(team, environment, bundle id) -> an active credential, or None and the id of the suspended one (0: none)."""


def plan(
    batches: Sequence[ClaimedBatch],
    copies: Sequence[Iterable[Copy]],
    find_credential: FindCredential,
    test_devices: Mapping[tuple[str, int], ListedDevice],
) -> Plan:
    """Group the copies of claimed batches by what they are sent with. `copies` go by the index of their batch."""
    made = Plan()
    for batch, resolved in zip(batches, copies, strict=True):
        _plan_batch(made, batch, resolved, find_credential, test_devices)
    return made


def _plan_batch(
    made: Plan,
    batch: ClaimedBatch,
    copies: Iterable[Copy],
    find_credential: FindCredential,
    test_devices: Mapping[tuple[str, int], ListedDevice],
) -> None:
    seen: set[bytes] = set()
    routed: set[int] = set()
    groups: dict[tuple[str, Environment, str], list[Copy]] = defaultdict(list)
    for copy in copies:
        if copy.token in seen:
            continue
        seen.add(copy.token)
        routed.add(copy.installation_id)
        groups[copy.team_id, copy.environment or Environment.PRODUCTION, copy.bundle_id].append(copy)
    if len(routed) < len(batch.installations):
        made.tokenless.append((batch, [one for one in batch.installations if one not in routed]))
    held: dict[int, list[int]] = defaultdict(list)
    lanes: dict[int, tuple[Credential, list[Copy]]] = {}
    for (team_id, environment, bundle_id), group in groups.items():
        credential, suspended = find_credential(team_id, environment, bundle_id)
        for copy in group:
            listed = test_devices.get((batch.app_id, copy.installation_id)) if test_devices else None
            if listed is not None and listed.failure_domain != "ok":
                made.simulated.append(_leg(batch, [copy], credential, listed))
            elif credential is None:
                held[suspended].append(copy.installation_id)
            elif listed is not None:
                made.lanes.setdefault(credential.credential_id, []).append(
                    _leg(batch, [copy], credential, listed)
                )
            else:
                lanes.setdefault(credential.credential_id, (credential, []))[1].append(copy)
    for credential_id, (credential, lane) in lanes.items():
        made.lanes.setdefault(credential_id, []).append(_leg(batch, lane, credential, None))
    made.held.extend((batch, credential_id, ids) for credential_id, ids in held.items())


def _leg(
    batch: ClaimedBatch, copies: list[Copy], credential: Credential | None, listed: ListedDevice | None
) -> Leg:
    apns_id = ApnsIds(batch.push_id).of
    suffix = PUSH_TYPES[batch.headers.push_type].suffix
    send = SendBatch(
        batch.payload,
        batch.headers,
        [copy.token.hex() for copy in copies],
        [apns_id(copy.installation_id) for copy in copies],
        [copy.bundle_id + suffix for copy in copies],
        traced=listed is not None,
    )
    return Leg(batch, send, copies, credential, listed)
