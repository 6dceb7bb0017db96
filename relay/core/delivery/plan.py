"""Claimed batches and their targets -> send jobs.

- each target gets its push under its own topic, in its own environment, with the credential of its own team;
- each device token gets a push at most once;
- a listed test device has a send job of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.delivery.outcomes import FailureDomain
from relay.core.delivery.routing import Target
from relay.core.delivery.sending import Credential, SendBatch
from relay.core.ids import ApnsIds
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.push_types import PUSH_TYPES


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
    dense: bool = False
    """Hardly any copy of the app lies between its first and its last installation and is not in it."""
    cancelled: bool = False
    """Its push was cancelled: it is not sent any more."""
    token_kind: str = "apns"
    """Which of a copy's device tokens it goes to."""
    has_webhook: bool = False
    """Whether the app has a webhook, to be told what becomes of it. Known once it is resolved."""


class ListedDevice(NamedTuple):
    """A listed copy: the publisher's label and its failure domain."""

    label: str
    failure_domain: FailureDomain


class TargetGroup(NamedTuple):
    """Copies of one team in one environment; ids, tokens and bundle identifiers go by index.

    Columns and not objects: most of a broadcast passes through here, thousands of copies in one group.
    """

    team_id: str
    environment: Environment | None
    installations: Sequence[int]
    tokens: Sequence[bytes]
    bundle_ids: Sequence[str]

    def pick(self, indexes: Sequence[int]) -> TargetGroup:
        """The group of these copies alone."""
        return TargetGroup(
            self.team_id,
            self.environment,
            [self.installations[index] for index in indexes],
            [self.tokens[index] for index in indexes],
            [self.bundle_ids[index] for index in indexes],
        )

    def among(self, installations: Iterable[int]) -> TargetGroup:
        """The group of the copies that are among these; nearly always all of them are."""
        wanted = set(installations)
        if wanted.issuperset(self.installations):
            return self
        return self.pick([index for index, number in enumerate(self.installations) if number in wanted])


def group_targets(copies: Iterable[Target]) -> list[TargetGroup]:
    """Copies in groups."""
    found: dict[tuple[str, Environment | None], list[Target]] = defaultdict(list)
    for copy in copies:
        found[copy.team_id, copy.environment].append(copy)
    return [
        TargetGroup(
            *key,
            [one.installation_id for one in own],
            [one.token for one in own],
            [one.bundle_id for one in own],
        )
        for key, own in found.items()
    ]


@dataclass(slots=True, repr=False)
class SendJob:
    """One send batch and whose it is; `installations` go by index, like its tokens and answers."""

    batch: ClaimedBatch
    send: SendBatch
    installations: Sequence[int]
    team_id: str
    environment: Environment | None
    credential: Credential | None = None
    test_device: ListedDevice | None = None

    def __len__(self) -> int:
        return len(self.installations)

    def pick(self, indexes: Sequence[int]) -> SendJob:
        """The leg of these copies alone, with their answers."""
        whole = self.send
        send = SendBatch(
            whole.payload,
            whole.headers,
            [whole.device_tokens[index] for index in indexes],
            [whole.apns_ids[index] for index in indexes],
            [whole.topics[index] for index in indexes],
            whole.traced,
        )
        send.answers = [whole.answers[index] for index in indexes]
        ids = [self.installations[index] for index in indexes]
        return SendJob(
            self.batch, send, ids, self.team_id, self.environment, self.credential, self.test_device
        )


@dataclass(slots=True, repr=False)
class Plan:
    """What becomes of claimed batches. Every installation of every batch is in exactly one of these."""

    lanes: dict[int, list[SendJob]] = field(default_factory=lambda: defaultdict(list))
    """By credential id: what can be sent now."""
    simulated: list[SendJob] = field(default_factory=list)
    """Test devices with a failure domain: Apple is not asked."""
    held: list[tuple[ClaimedBatch, int, Sequence[int]]] = field(default_factory=list)
    """(batch, credential id or 0, installations): their credential is suspended or missing."""
    tokenless: list[tuple[ClaimedBatch, Sequence[int]]] = field(default_factory=list)
    """Installations that have no device token any more, or a token that another copy has already."""


FindCredential = Callable[[str, Environment, str], tuple[Credential | None, int]]
"""(team, environment, bundle id) -> an active credential, or None and the id of the suspended one (0: none)."""
ListedDevices = Mapping[str, Mapping[int, ListedDevice]]
"""By app_id and installation id."""


def plan_sends(
    batches: Sequence[ClaimedBatch],
    groups: Sequence[Sequence[TargetGroup]],
    find_credential: FindCredential,
    test_devices: ListedDevices,
) -> Plan:
    """Lay out what claimed batches are sent with. `groups` are their copies, by the index of the batch."""
    made = Plan()
    for batch, own in zip(batches, groups, strict=True):
        own = _once(own)
        count = sum(len(one.tokens) for one in own)
        if count < len(batch.installations):
            routed = {number for one in own for number in one.installations}
            made.tokenless.append((batch, [number for number in batch.installations if number not in routed]))
        listed = test_devices.get(batch.app_id, {})
        for one in own:
            _plan_group(made, batch, one, find_credential, listed)
    return made


def _once(groups: Sequence[TargetGroup]) -> Sequence[TargetGroup]:
    """The groups without copies whose token another copy has already. Nearly always there are none."""
    if len(groups) == 1 and len(groups[0].tokens) == 1:
        return groups
    seen: set[bytes] = set()
    if len(seen.union(*(one.tokens for one in groups))) == sum(len(one.tokens) for one in groups):
        return groups
    without = []
    for one in groups:
        indexes = []
        for index, token in enumerate(one.tokens):
            if token not in seen:
                seen.add(token)
                indexes.append(index)
        without.append(one.pick(indexes))
    return without


def _plan_group(
    made: Plan,
    batch: ClaimedBatch,
    copies: TargetGroup,
    find_credential: FindCredential,
    listed: Mapping[int, ListedDevice],
) -> None:
    if listed and not listed.keys().isdisjoint(copies.installations):
        others = []
        for index, number in enumerate(copies.installations):
            if number in listed:
                _plan_listed(made, batch, copies.pick([index]), find_credential, listed[number])
            else:
                others.append(index)
        copies = copies.pick(others)
    for found, held_by, part in _by_credential(copies, find_credential):
        if found is None:
            made.held.append((batch, held_by, part.installations))
        else:
            made.lanes[found.credential_id].append(_leg(batch, part, found, None))


def _plan_listed(
    made: Plan, batch: ClaimedBatch, copy: TargetGroup, find_credential: FindCredential, listed: ListedDevice
) -> None:
    """A listed copy has a leg of its own, so that its trace is its own."""
    [(found, held_by, _)] = _by_credential(copy, find_credential)
    if listed.failure_domain != FailureDomain.OK:
        made.simulated.append(_leg(batch, copy, found, listed))
    elif found is None:
        made.held.append((batch, held_by, copy.installations))
    else:
        made.lanes[found.credential_id].append(_leg(batch, copy, found, listed))


def _by_credential(
    copies: TargetGroup, find_credential: FindCredential
) -> list[tuple[Credential | None, int, TargetGroup]]:
    """The group in parts with one credential each: nearly always it is one for all bundle identifiers of a team."""
    environment = copies.environment or Environment.PRODUCTION
    bundle_ids = set(copies.bundle_ids)
    if len(bundle_ids) == 1:
        return [(*find_credential(copies.team_id, environment, bundle_ids.pop()), copies)]
    found = {one: find_credential(copies.team_id, environment, one) for one in bundle_ids}
    parts: dict[tuple[int, int], tuple[Credential | None, int]] = {
        (credential.credential_id if credential else 0, held_by): (credential, held_by)
        for credential, held_by in found.values()
    }
    if len(parts) == 1:
        [(credential, held_by)] = parts.values()
        return [(credential, held_by, copies)]
    indexes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, bundle_id in enumerate(copies.bundle_ids):
        credential, held_by = found[bundle_id]
        indexes[credential.credential_id if credential else 0, held_by].append(index)
    return [(*parts[key], copies.pick(own)) for key, own in indexes.items()]


def _leg(
    batch: ClaimedBatch, copies: TargetGroup, credential: Credential | None, listed: ListedDevice | None
) -> SendJob:
    suffix = PUSH_TYPES[batch.headers.push_type].suffix
    send = SendBatch(
        batch.payload,
        batch.headers,
        [token.hex() for token in copies.tokens],
        ApnsIds(batch.push_id).derive_all(copies.installations),
        [bundle_id + suffix for bundle_id in copies.bundle_ids] if suffix else copies.bundle_ids,
        traced=listed is not None,
    )
    return SendJob(batch, send, copies.installations, copies.team_id, copies.environment, credential, listed)
