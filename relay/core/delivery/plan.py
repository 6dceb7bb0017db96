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

from relay.core.accounts import Environment
from relay.core.delivery.outcomes import FailureDomain
from relay.core.delivery.routing import Target
from relay.core.delivery.sending import Credential, SendBatch
from relay.core.ids import ApnsIds, AppId, BatchId, CredentialId, InstallationId, PushId
from relay.core.push.apns_headers import PushHeaders
from relay.core.push.push_types import PUSH_TYPES


@dataclass(slots=True, repr=False)
class ClaimedBatch:
    """A batch of one push whose lease this node holds. `attempt` counts from 0."""

    app_id: AppId
    push_id: PushId
    batch_id: BatchId
    attempt: int
    installations: Sequence[InstallationId]
    payload: bytes
    headers: PushHeaders
    accepted_at: datetime
    expires_at: datetime
    last_reason: str = ""
    """The reason why the previous attempt did not deliver it, or ""."""
    dense: bool = False
    """Nearly all installations of the app between the first and the last of the batch are in the batch."""
    cancelled: bool = False
    """The push was cancelled: the batch is not sent."""
    token_kind: str = "apns"
    """The kind of device token that the push goes to."""
    has_webhook: bool = False
    """The app has a webhook that takes the outcomes. Set when the batch is resolved."""


class ListedDevice(NamedTuple):
    """The label and the failure domain that a publisher gave a test device."""

    label: str
    failure_domain: FailureDomain


class TargetGroup(NamedTuple):
    """Targets of one team in one environment; ids, tokens and bundle identifiers go by index.

    Columns instead of objects: most of a broadcast passes through here, with thousands of targets in a group.
    """

    team_id: str
    environment: Environment | None
    installations: Sequence[InstallationId]
    tokens: Sequence[bytes]
    bundle_ids: Sequence[str]

    def pick(self, indexes: Sequence[int]) -> TargetGroup:
        """Return a group of the targets at these indexes."""
        return TargetGroup(
            self.team_id,
            self.environment,
            [self.installations[index] for index in indexes],
            [self.tokens[index] for index in indexes],
            [self.bundle_ids[index] for index in indexes],
        )

    def among(self, installations: Iterable[InstallationId]) -> TargetGroup:
        """Return a group of the targets that are among `installations`; nearly always this group itself."""
        wanted = set(installations)
        if wanted.issuperset(self.installations):
            return self
        return self.pick([index for index, number in enumerate(self.installations) if number in wanted])


def group_targets(targets: Iterable[Target]) -> list[TargetGroup]:
    """Group targets by team and environment."""
    by_key: dict[tuple[str, Environment | None], list[Target]] = defaultdict(list)
    for target in targets:
        by_key[target.team_id, target.environment].append(target)
    return [
        TargetGroup(
            *key,
            [target.installation_id for target in members],
            [target.token for target in members],
            [target.bundle_id for target in members],
        )
        for key, members in by_key.items()
    ]


@dataclass(slots=True, repr=False)
class SendJob:
    """A send batch with its origin; `installations` go by index, like the tokens and answers of `send`."""

    batch: ClaimedBatch
    send: SendBatch
    installations: Sequence[InstallationId]
    team_id: str
    environment: Environment | None
    credential: Credential | None = None
    test_device: ListedDevice | None = None

    def __len__(self) -> int:
        return len(self.installations)

    def pick(self, indexes: Sequence[int]) -> SendJob:
        """Return a job of the targets at these indexes, with their answers."""
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
    """The next step of each installation of claimed batches: every one is in exactly one of the fields."""

    lanes: dict[CredentialId, list[SendJob]] = field(default_factory=lambda: defaultdict(list))
    """Jobs that can be sent now, by credential id."""
    simulated: list[SendJob] = field(default_factory=list)
    """Jobs of test devices with a failure domain: APNs is not asked."""
    held: list[tuple[ClaimedBatch, int, Sequence[InstallationId]]] = field(default_factory=list)
    """(batch, credential id or 0, installations) whose credential is suspended or missing."""
    tokenless: list[tuple[ClaimedBatch, Sequence[InstallationId]]] = field(default_factory=list)
    """Installations that have no device token any more, or a token that another installation has already."""


FindCredential = Callable[[str, Environment, str], tuple[Credential | None, int]]
"""(team id, environment, bundle id) -> an active credential, or None and the id of the suspended one (0: none)."""
ListedDevices = Mapping[str, Mapping[int, ListedDevice]]
"""By app id and installation id."""


def plan_sends(
    batches: Sequence[ClaimedBatch],
    groups: Sequence[Sequence[TargetGroup]],
    find_credential: FindCredential,
    test_devices: ListedDevices,
) -> Plan:
    """Plan how claimed batches are sent. `groups` are their targets, by the index of the batch."""
    plan = Plan()
    for batch, batch_groups in zip(batches, groups, strict=True):
        unique = _without_repeated_tokens(batch_groups)
        count = sum(len(group.tokens) for group in unique)
        if count < len(batch.installations):
            routed = {number for group in unique for number in group.installations}
            plan.tokenless.append((batch, [number for number in batch.installations if number not in routed]))
        listed = test_devices.get(batch.app_id, {})
        for group in unique:
            _plan_group(plan, batch, group, find_credential, listed)
    return plan


def _without_repeated_tokens(groups: Sequence[TargetGroup]) -> Sequence[TargetGroup]:
    """Drop targets whose token an earlier target has. Nearly always there are none."""
    if len(groups) == 1 and len(groups[0].tokens) == 1:
        return groups
    seen: set[bytes] = set()
    if len(seen.union(*(group.tokens for group in groups))) == sum(len(group.tokens) for group in groups):
        return groups
    unique = []
    for group in groups:
        indexes = []
        for index, token in enumerate(group.tokens):
            if token not in seen:
                seen.add(token)
                indexes.append(index)
        unique.append(group.pick(indexes))
    return unique


def _plan_group(
    plan: Plan,
    batch: ClaimedBatch,
    group: TargetGroup,
    find_credential: FindCredential,
    listed: Mapping[int, ListedDevice],
) -> None:
    if listed and not listed.keys().isdisjoint(group.installations):
        unlisted = []
        for index, number in enumerate(group.installations):
            if number in listed:
                _plan_listed(plan, batch, group.pick([index]), find_credential, listed[number])
            else:
                unlisted.append(index)
        group = group.pick(unlisted)
    for credential, held_by, part in _by_credential(group, find_credential):
        if credential is None:
            plan.held.append((batch, held_by, part.installations))
        else:
            plan.lanes[credential.credential_id].append(_send_job(batch, part, credential, None))


def _plan_listed(
    plan: Plan,
    batch: ClaimedBatch,
    target: TargetGroup,
    find_credential: FindCredential,
    listed: ListedDevice,
) -> None:
    """Give a listed test device a job of its own: its trace holds no other device."""
    [(credential, held_by, _)] = _by_credential(target, find_credential)
    if listed.failure_domain != FailureDomain.OK:
        plan.simulated.append(_send_job(batch, target, credential, listed))
    elif credential is None:
        plan.held.append((batch, held_by, target.installations))
    else:
        plan.lanes[credential.credential_id].append(_send_job(batch, target, credential, listed))


def _by_credential(
    group: TargetGroup, find_credential: FindCredential
) -> list[tuple[Credential | None, int, TargetGroup]]:
    """Split a group by credential: nearly always one credential serves all bundle identifiers of a team."""
    environment = group.environment or Environment.PRODUCTION
    bundle_ids = set(group.bundle_ids)
    if len(bundle_ids) == 1:
        return [(*find_credential(group.team_id, environment, bundle_ids.pop()), group)]
    by_bundle = {
        bundle_id: find_credential(group.team_id, environment, bundle_id) for bundle_id in bundle_ids
    }
    parts: dict[tuple[int, int], tuple[Credential | None, int]] = {
        (credential.credential_id if credential else 0, held_by): (credential, held_by)
        for credential, held_by in by_bundle.values()
    }
    if len(parts) == 1:
        [(credential, held_by)] = parts.values()
        return [(credential, held_by, group)]
    indexes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, bundle_id in enumerate(group.bundle_ids):
        credential, held_by = by_bundle[bundle_id]
        indexes[credential.credential_id if credential else 0, held_by].append(index)
    return [(*parts[key], group.pick(members)) for key, members in indexes.items()]


def _send_job(
    batch: ClaimedBatch, group: TargetGroup, credential: Credential | None, listed: ListedDevice | None
) -> SendJob:
    suffix = PUSH_TYPES[batch.headers.push_type].suffix
    send = SendBatch(
        batch.payload,
        batch.headers,
        [token.hex() for token in group.tokens],
        ApnsIds(batch.push_id).derive_all(group.installations),
        [bundle_id + suffix for bundle_id in group.bundle_ids] if suffix else group.bundle_ids,
        traced=listed is not None,
    )
    return SendJob(batch, send, group.installations, group.team_id, group.environment, credential, listed)
