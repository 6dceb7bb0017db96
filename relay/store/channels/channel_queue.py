"""SQL of pushes on their way to channels: claimed with a lease, settled once; and of channels to be deleted at Apple.

The same as `queue`, with a row for each of Apple's channels instead of batches: there are few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from relay.core.accounts import Environment
from relay.core.channels import ChannelTopic
from relay.core.delivery.sending import PushHeaders
from relay.core.push.push_types import LIVE_ACTIVITY
from relay.store.database import Connection

# Fair between apps, which are found by jumping through the index, as in `queue`.
_CLAIM = """
WITH RECURSIVE apps AS (
    (SELECT app_id FROM channel_delivery WHERE due_at IS NOT NULL ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT d.app_id FROM channel_delivery d WHERE d.app_id > a.app_id AND d.due_at IS NOT NULL
        ORDER BY d.app_id LIMIT 1
    )
    FROM apps a WHERE a.app_id IS NOT NULL
), chosen AS (
    SELECT app_id, count(*) OVER () AS apps FROM apps WHERE app_id IS NOT NULL ORDER BY random() LIMIT $4
), due AS (
    SELECT d.* FROM chosen c CROSS JOIN LATERAL (
        SELECT app_id, push_id, environment, bundle_id FROM channel_delivery
        WHERE app_id = c.app_id AND due_at <= $1 ORDER BY due_at LIMIT greatest(1, $4 / c.apps)
        FOR UPDATE SKIP LOCKED
    ) d
), claimed AS (
    UPDATE channel_delivery d SET due_at = $2, lease_owner = $3 FROM due k
    WHERE d.app_id = k.app_id AND d.push_id = k.push_id AND d.environment = k.environment
          AND d.bundle_id = k.bundle_id
    RETURNING d.app_id, d.push_id, d.team_id, d.environment, d.bundle_id, d.apns_channel_id, d.attempt
)
SELECT c.app_id, p.channel_id, c.push_id, c.team_id, c.environment, c.bundle_id, c.apns_channel_id, c.attempt,
       p.expires_at, p.priority, p.expiration, p.payload
FROM claimed c JOIN channel_push p ON p.app_id = c.app_id AND p.push_id = c.push_id
"""
# What was deleted meanwhile, or whose lease was lost, is not there to be settled.
_SETTLE = """
UPDATE channel_delivery d SET attempt = s.attempt, due_at = s.due_at, outcome = s.outcome, status = s.status,
    reason = s.reason, lease_owner = NULL
FROM unnest($2::channel_outcome_row[]) s
WHERE d.app_id = s.app_id AND d.push_id = s.push_id AND d.environment = s.environment AND d.bundle_id = s.bundle_id
      AND d.lease_owner = $1
"""
_RELEASE = "UPDATE channel_delivery SET due_at = $2, lease_owner = NULL WHERE lease_owner = $1 AND due_at IS NOT NULL"
_CLAIM_REMOVALS = """
WITH due AS (
    SELECT app_id, channel_id, environment, bundle_id, apns_channel_id FROM apple_channel
    WHERE remove_at <= $1 ORDER BY remove_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE apple_channel a SET remove_at = $2 FROM due k
WHERE a.app_id = k.app_id AND a.channel_id = k.channel_id AND a.environment = k.environment
      AND a.bundle_id = k.bundle_id AND a.apns_channel_id = k.apns_channel_id
RETURNING a.app_id, a.channel_id, a.team_id, a.environment, a.bundle_id, a.apns_channel_id, a.attempt
"""
_POSTPONE = """
UPDATE apple_channel a SET remove_at = r.remove_at, attempt = r.attempt FROM unnest($1::apple_channel_row[]) r
WHERE a.app_id = r.app_id AND a.channel_id = r.channel_id AND a.environment = r.environment
      AND a.bundle_id = r.bundle_id AND a.apns_channel_id = r.apns_channel_id
"""
_FORGET = """
DELETE FROM apple_channel a USING unnest($1::apple_channel_row[]) r
WHERE a.app_id = r.app_id AND a.channel_id = r.channel_id AND a.environment = r.environment
      AND a.bundle_id = r.bundle_id AND a.apns_channel_id = r.apns_channel_id
"""


@dataclass(frozen=True, slots=True)
class AppleChannel:
    """A channel at Apple. `attempt` counts the failed tries to delete it."""

    app_id: str
    channel_id: UUID
    topic: ChannelTopic
    apns_channel_id: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """A push to one of Apple's channels, under this node's lease. `attempt` counts from 0."""

    channel: AppleChannel
    push_id: UUID
    attempt: int
    expires_at: datetime
    headers: PushHeaders
    payload: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """What a delivery came to: an outcome, or None and `due_at`, when it is tried again."""

    delivery: Delivery
    attempt: int
    due_at: datetime | None
    outcome: str | None
    status: int
    reason: str


async def claim(
    connection: Connection, owner: UUID, now: datetime, lease_end: datetime, most: int
) -> list[Delivery]:
    """Take the lease of up to about `most` deliveries that are due."""
    rows = await connection.fetch(_CLAIM, now, lease_end, owner, most)
    return [
        Delivery(
            AppleChannel(row[0], row[1], ChannelTopic(row[3], Environment(row[4]), row[5]), row[6]),
            push_id=row[2],
            attempt=row[7],
            expires_at=row[8],
            headers=PushHeaders(LIVE_ACTIVITY.name, row[9], row[10]),
            payload=row[11],
        )
        for row in rows
    ]


async def settle(connection: Connection, owner: UUID, settled: Sequence[Settled]) -> None:
    """Write what deliveries came to, as far as their leases are still ours."""
    rows = [
        (
            one.delivery.channel.app_id,
            one.delivery.push_id,
            one.delivery.channel.topic.environment.value,
            one.delivery.channel.topic.bundle_id,
            one.attempt,
            one.due_at,
            one.outcome,
            one.status,
            one.reason,
        )
        for one in settled
    ]
    await connection.execute(_SETTLE, owner, rows)


async def release(connection: Connection, owner: UUID, now: datetime) -> None:
    """Hand back every delivery of this node: for a clean end."""
    await connection.execute(_RELEASE, owner, now)


async def claim_removals(
    connection: Connection, now: datetime, lease_end: datetime, most: int
) -> list[AppleChannel]:
    """Up to `most` channels that are to be deleted at Apple; others don't try before `lease_end`."""
    rows = await connection.fetch(_CLAIM_REMOVALS, now, lease_end, most)
    return [
        AppleChannel(row[0], row[1], ChannelTopic(row[2], Environment(row[3]), row[4]), row[5], row[6])
        for row in rows
    ]


async def postpone(connection: Connection, channel: AppleChannel, remove_at: datetime, attempt: int) -> None:
    """Try again at that time to delete it; `attempt` tries have failed."""
    await connection.execute(_POSTPONE, [_row(channel, remove_at, attempt)])


async def forget(connection: Connection, channels: Sequence[AppleChannel]) -> None:
    """These are no longer at Apple."""
    await connection.execute(_FORGET, [_row(channel, None, 0) for channel in channels])


def _row(
    channel: AppleChannel, remove_at: datetime | None, attempt: int
) -> tuple[str, UUID, str, str, str, datetime | None, int]:
    topic = channel.topic
    return (
        channel.app_id,
        channel.channel_id,
        topic.environment.value,
        topic.bundle_id,
        channel.apns_channel_id,
        remove_at,
        attempt,
    )
