"""SQL of the queue: claim, resolve, settle, keep, wake.

A claim moves a batch's due time to the end of the lease. Nothing is "processing": a batch whose node died is simply
due again. What a batch row holds is always exactly what has not been settled of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from relay.core.delivery.outcomes import FailureDomain, Outcome
from relay.core.delivery.plan import ClaimedBatch, ListedDevice, TargetGroup
from relay.core.delivery.sending import PushHeaders
from relay.core.push.push_types import PUSH_TYPES
from relay.store.database import Connection
from relay.store.push.pushes import BULK, ENVIRONMENTS
from relay.store.webhooks import outbox

# Fair between apps: each app with work gives the same number of batches, small ones and bulk ones apart. The apps
# are found by jumping through the index (a loose index scan), not by reading the queue; those whose batches are all
# held or leased take nobody's turn. OFFSET 0 keeps that a look at the index for each app, and no join with the queue.
_CLAIM = """
WITH RECURSIVE apps AS (
    (SELECT app_id FROM batch ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.app_id FROM batch b WHERE b.app_id > a.app_id ORDER BY b.app_id LIMIT 1)
    FROM apps a WHERE a.app_id IS NOT NULL
), with_small AS (
    SELECT app_id, count(*) OVER () AS apps FROM apps a
    WHERE EXISTS (SELECT FROM batch b WHERE b.app_id = a.app_id AND NOT b.bulk AND b.due_at <= $1 OFFSET 0)
    ORDER BY random() LIMIT $4
), with_bulk AS (
    SELECT app_id, count(*) OVER () AS apps FROM apps a
    WHERE $5 > 0 AND EXISTS (SELECT FROM batch b WHERE b.app_id = a.app_id AND b.bulk AND b.due_at <= $1 OFFSET 0)
    ORDER BY random() LIMIT $5
), small AS (
    SELECT b.app_id, b.push_id, b.batch_id FROM with_small c CROSS JOIN LATERAL (
        SELECT app_id, push_id, batch_id FROM batch
        WHERE app_id = c.app_id AND NOT bulk AND due_at <= $1
        ORDER BY due_at LIMIT greatest(1, $4 / c.apps) FOR UPDATE SKIP LOCKED
    ) b
), bulk AS (
    SELECT b.app_id, b.push_id, b.batch_id FROM with_bulk c CROSS JOIN LATERAL (
        SELECT app_id, push_id, batch_id FROM batch
        WHERE app_id = c.app_id AND bulk AND due_at <= $1
        ORDER BY due_at LIMIT greatest(1, $5 / c.apps) FOR UPDATE SKIP LOCKED
    ) b
), claimed AS (
    UPDATE batch b SET due_at = $2, lease_owner = $3, held_by = NULL
    FROM (SELECT * FROM small UNION ALL SELECT * FROM bulk) k
    WHERE b.app_id = k.app_id AND b.push_id = k.push_id AND b.batch_id = k.batch_id
    RETURNING b.app_id, b.push_id, b.batch_id, b.attempt, b.installations, b.last_reason, b.dense
)
SELECT c.app_id, c.push_id, c.batch_id, c.attempt, c.installations, p.payload, p.push_type, p.priority,
       p.expiration, p.collapse_id, p.created_at, p.expires_at, c.last_reason, c.dense, p.cancelled_at IS NOT NULL,
       p.token_kind
FROM claimed c JOIN push p ON p.app_id = c.app_id AND p.push_id = c.push_id
"""

_RESOLVE = """
SELECT u.batch, i.team_id, i.environment, array_agg(u.id), array_agg(t.token), array_agg(i.bundle_id)
FROM unnest($1::int[], $2::bigint[]) AS u(batch, id)
JOIN installation i ON i.app_id = ($3::text[])[u.batch] AND i.installation_id = u.id AND i.retired_at IS NULL
JOIN device_token t ON t.app_id = i.app_id AND t.installation_id = i.installation_id
     AND t.kind = ($4::text[])[u.batch] AND t.retired_at IS NULL
GROUP BY u.batch, i.team_id, i.environment
"""

# The same for dense batches, three times as fast: both tables are read along their keys and merged.
_RESOLVE_DENSE = """
SELECT u.batch, n.team_id, n.environment, array_agg(n.installation_id), array_agg(n.token), array_agg(n.bundle_id)
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS u(batch, first, last)
CROSS JOIN LATERAL (
    SELECT i.installation_id, i.team_id, i.environment, i.bundle_id, t.token
    FROM (
        SELECT installation_id, team_id, environment, bundle_id FROM installation
        WHERE app_id = ($4::text[])[u.batch] AND installation_id BETWEEN u.first AND u.last AND retired_at IS NULL
        ORDER BY installation_id
    ) i JOIN (
        SELECT installation_id, token FROM device_token
        WHERE app_id = ($4::text[])[u.batch] AND installation_id BETWEEN u.first AND u.last
              AND kind = ($5::text[])[u.batch] AND retired_at IS NULL
        ORDER BY installation_id
    ) t USING (installation_id)
) n
GROUP BY u.batch, n.team_id, n.environment
"""

# A row without an installation: the app has a webhook. So that is known without a query of its own.
_ABOUT_APPS = """
SELECT i.app_id, i.installation_id, l.label, l.failure_domain
FROM app a
JOIN test_device l ON l.publisher_id = a.publisher_id
JOIN device d ON d.udid_digest = l.udid_digest
JOIN installation i ON i.app_id = a.app_id AND i.device_id = d.device_id
WHERE a.app_id = ANY($1::text[])
UNION ALL
SELECT app_id, NULL, NULL, NULL FROM webhook WHERE app_id = ANY($1::text[]) AND disabled_at IS NULL
"""

# One statement settles everything that ended together. `owned` is the gate: a batch whose lease was lost is not in
# it, and nothing of it is written, because its new holder will write it. Nor is a settlement that was written already,
# when it is repeated because the answer was lost: then its ended batches are gone and the others have shrunk.
# What would be tried again of a batch that was cancelled meanwhile ends instead.
_SETTLE = """
WITH ended AS (
    DELETE FROM batch b USING unnest($2::batch_key[]) e
    WHERE b.app_id = e.app_id AND b.push_id = e.push_id AND b.batch_id = e.batch_id AND b.lease_owner = $1
    RETURNING b.batch_id, b.cancelled
), shrunk AS (
    UPDATE batch b SET installations = s.installations, due_at = s.due_at FROM unnest($3::batch_row[]) s
    WHERE b.app_id = s.app_id AND b.push_id = s.push_id AND b.batch_id = s.batch_id AND b.lease_owner = $1
      AND cardinality(b.installations) > cardinality(s.installations)
    RETURNING b.batch_id, b.cancelled
), owned AS (
    SELECT batch_id, cancelled FROM ended UNION ALL SELECT batch_id, cancelled FROM shrunk
), delivered AS (
    INSERT INTO delivery (app_id, push_id, batch_id, attempt, settled_at, outcome, status, reason, installations)
    SELECT app_id, push_id, batch_id, attempt, $6::timestamptz, outcome, status, reason, installations
    FROM unnest($4::outcome_row[]) WHERE batch_id IN (SELECT batch_id FROM owned)
    UNION ALL
    SELECT app_id, push_id, parent_id, attempt, $6, 'cancelled', 0::smallint, 'Cancelled', installations
    FROM unnest($5::batch_row[]) WHERE parent_id IN (SELECT batch_id FROM owned WHERE cancelled)
), again AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, held_by, last_reason, installations)
    SELECT app_id, push_id, batch_id, cardinality(installations) > $7, attempt, due_at, held_by, last_reason,
           installations
    FROM unnest($5::batch_row[]) WHERE parent_id IN (SELECT batch_id FROM owned WHERE NOT cancelled)
)
SELECT batch_id FROM owned
"""
# Locked in the order in which enrolments lock, so that neither waits for the other.
_RETIRE = """
WITH dead AS (
    SELECT t.app_id, t.installation_id, t.kind, r.reason FROM unnest($2::retirement_row[]) r
    JOIN device_token t ON t.app_id = r.app_id AND t.installation_id = r.installation_id AND t.token = r.token
    LEFT JOIN sighting s ON s.app_id = t.app_id AND s.installation_id = t.installation_id
    WHERE t.retired_at IS NULL AND greatest(t.registered_at, s.seen_at) <= r.evidence
    ORDER BY t.app_id, t.installation_id, t.kind FOR UPDATE OF t
)
UPDATE device_token t SET retired_at = $1, retired_reason = d.reason FROM dead d
WHERE t.app_id = d.app_id AND t.installation_id = d.installation_id AND t.kind = d.kind
"""
_TRACE = "INSERT INTO trace VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
# Whoever has locked a row now is settling it: that is not waited for.
_EXTEND = """
WITH held AS (
    SELECT b.app_id, b.push_id, b.batch_id FROM unnest($3::batch_key[]) k
    JOIN batch b ON b.app_id = k.app_id AND b.push_id = k.push_id AND b.batch_id = k.batch_id
    WHERE b.lease_owner = $1 FOR UPDATE OF b SKIP LOCKED
)
UPDATE batch b SET due_at = $2 FROM held h
WHERE b.app_id = h.app_id AND b.push_id = h.push_id AND b.batch_id = h.batch_id
"""
# Up to a limit only: how far beyond it does not matter, and reading that would take long. A broadcast that has not been
# cut to its end counts as one.
_WAITING = """
SELECT a.app_id, (SELECT count(*) FROM (SELECT FROM batch b WHERE b.app_id = a.app_id LIMIT $2) n)
       + (SELECT count(*) FROM (SELECT FROM broadcast c WHERE c.app_id = a.app_id LIMIT $2) n)
FROM unnest($1::text[]) AS a(app_id)
"""
_RELEASE = "UPDATE batch SET due_at = $2, lease_owner = NULL WHERE lease_owner = $1"


async def claim(
    connection: Connection, owner: UUID, now: datetime, lease_end: datetime, small: int, bulk: int
) -> list[ClaimedBatch]:
    """Take the lease of up to about `small` small and `bulk` bulk batches that are due."""
    rows = await connection.fetch(_CLAIM, now, lease_end, owner, small, bulk)
    return [
        ClaimedBatch(
            app_id=row[0],
            push_id=row[1],
            batch_id=row[2],
            attempt=row[3],
            installations=row[4],
            payload=row[5],
            headers=PushHeaders(row[6], row[7], row[8], row[9]),
            accepted_at=row[10],
            expires_at=row[11],
            last_reason=row[12],
            dense=row[13],
            cancelled=row[14],
            token_kind=row[15] or PUSH_TYPES[row[6]].token_kind,
        )
        for row in rows
    ]


async def resolve(connection: Connection, batches: Sequence[ClaimedBatch]) -> list[list[TargetGroup]]:
    """For each claimed batch, its copies that have an active device token of the batch's kind."""
    app_ids = [batch.app_id for batch in batches]
    token_kinds = [batch.token_kind for batch in batches]
    groups: list[list[TargetGroup]] = [[] for _ in batches]
    numbers: list[int] = []
    ids: list[int] = []
    dense: list[tuple[int, int, int]] = []
    for number, batch in enumerate(batches, start=1):
        if batch.dense:
            dense.append((number, min(batch.installations), max(batch.installations)))
        else:
            numbers.extend([number] * len(batch.installations))
            ids.extend(batch.installations)
    if numbers:
        for row in await connection.fetch(_RESOLVE, numbers, ids, app_ids, token_kinds):
            groups[row[0] - 1].append(_group(row))
    if dense:
        for row in await connection.fetch(_RESOLVE_DENSE, *zip(*dense, strict=True), app_ids, token_kinds):
            batch = batches[row[0] - 1]
            if (found := _group(row).among(batch.installations)).installations:
                groups[row[0] - 1].append(found)
    return groups


def _group(row: asyncpg.Record) -> TargetGroup:
    """Columns two and on of what resolves batches."""
    return TargetGroup(row[1], ENVIRONMENTS[row[2]], row[3], row[4], row[5])


class AboutApps(NamedTuple):
    """What dispatch must know of apps: their listed copies, by app_id and installation id; and which have a webhook."""

    listed: dict[str, dict[int, ListedDevice]]
    with_webhook: set[str]


async def about_apps(connection: Connection, app_ids: Sequence[str]) -> AboutApps:
    """What dispatch must know of these apps."""
    about = AboutApps(defaultdict(dict), set())
    for app_id, installation_id, label, failure_domain in await connection.fetch(_ABOUT_APPS, app_ids):
        if installation_id is None:
            about.with_webhook.add(app_id)
        else:
            about.listed[app_id][installation_id] = ListedDevice(label, FailureDomain(failure_domain))
    return about


@dataclass(slots=True)
class DeliveryOutcome:
    """Installations of a batch that ended in the same way."""

    batch: ClaimedBatch
    outcome: Outcome
    status: int
    reason: str
    installations: Sequence[int]


@dataclass(slots=True)
class Retry:
    """Installations of a batch that are tried again at `due_at`, and why.

    `held_by` is the credential they wait for, if it is that.
    """

    batch: ClaimedBatch
    attempt: int
    due_at: datetime
    held_by: int | None
    reason: str
    installations: Sequence[int]


@dataclass(slots=True, repr=False)
class TokenRetirement:
    """A device token that was dead at `evidence`; one registered again since then stays."""

    app_id: str
    installation_id: int
    token: bytes
    reason: str
    evidence: datetime


@dataclass(slots=True, repr=False)
class Trace:
    """The record (JSON) of one attempt at one listed device."""

    app_id: str
    push_id: UUID
    installation_id: int
    attempt: int
    record: str


@dataclass(slots=True)
class Settlement:
    """Everything that is written together."""

    ended: list[ClaimedBatch] = field(default_factory=list)
    remaining: list[tuple[ClaimedBatch, Sequence[int]]] = field(default_factory=list)
    outcomes: list[DeliveryOutcome] = field(default_factory=list)
    again: list[Retry] = field(default_factory=list)
    retirements: list[TokenRetirement] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.ended or self.remaining or self.outcomes or self.again or self.retirements or self.traces
        )

    @property
    def concerns_webhooks(self) -> bool:
        """Whether a publisher may want to know of it."""
        return any(one.batch.has_webhook for one in self.outcomes) or any(
            one.batch.has_webhook for one in self.again
        )


async def settle(
    connection: Connection,
    owner: UUID,
    settlement: Settlement,
    now: datetime,
    lease_end: datetime,
    batch_id: Callable[[], int],
) -> set[int]:
    """Write a settlement in one transaction. Returns the ids of the batches whose lease we still had.

    Of a batch whose lease was lost no outcome is written: whoever holds it now writes them. Retirements and traces
    are true in any case. What publishers are to be told is written with the outcomes.
    """
    told = settlement.concerns_webhooks
    if not (settlement.retirements or settlement.traces or told):
        return await _settle(connection, owner, settlement, now, lease_end, batch_id)
    async with connection.transaction():
        owned = await _settle(connection, owner, settlement, now, lease_end, batch_id)
        if told:
            await _tell(connection, settlement, owned, now)
        if settlement.retirements:
            retired = [
                (one.app_id, one.installation_id, one.token, one.reason, one.evidence)
                for one in settlement.retirements
            ]
            await connection.execute(_RETIRE, now, retired)
        if settlement.traces:
            await connection.executemany(
                _TRACE,
                [
                    (one.app_id, one.push_id, one.installation_id, one.attempt, one.record)
                    for one in settlement.traces
                ],
            )
    return owned


async def _tell(connection: Connection, settlement: Settlement, owned: set[int], now: datetime) -> None:
    told = [one for one in settlement.outcomes if one.batch.has_webhook and one.batch.batch_id in owned]
    # What would be tried again may have been cancelled, and was the last of its push.
    again = [one.batch for one in settlement.again if one.batch.has_webhook and one.batch.batch_id in owned]
    ended = (
        outbox.Ended(
            one.batch.app_id, one.batch.push_id, one.outcome, one.status, one.reason, one.installations
        )
        for one in told
    )
    await outbox.tell_ended(connection, ended, now)
    pushes = [(batch.app_id, batch.push_id) for batch in (*(one.batch for one in told), *again)]
    await outbox.tell_completed(connection, pushes, now)


async def _settle(
    connection: Connection,
    owner: UUID,
    settlement: Settlement,
    now: datetime,
    lease_end: datetime,
    batch_id: Callable[[], int],
) -> set[int]:
    """The one statement that settles batches; alone it is a transaction, without round trips to begin and end one."""
    rows = await connection.fetch(
        _SETTLE,
        owner,
        [(batch.app_id, batch.push_id, batch.batch_id) for batch in settlement.ended],
        [
            (
                batch.app_id,
                batch.push_id,
                batch.batch_id,
                batch.attempt,
                lease_end,
                owner,
                None,
                "",
                ids,
                None,
            )
            for batch, ids in settlement.remaining
        ],
        [
            (
                one.batch.app_id,
                one.batch.push_id,
                one.batch.batch_id,
                one.batch.attempt,
                one.outcome,
                one.status,
                one.reason,
                one.installations,
            )
            for one in settlement.outcomes
        ],
        [
            (
                one.batch.app_id,
                one.batch.push_id,
                batch_id(),
                one.attempt,
                one.due_at,
                None,
                one.held_by,
                one.reason,
                one.installations,
                one.batch.batch_id,
            )
            for one in settlement.again
        ],
        now,
        BULK,
    )
    return {row[0] for row in rows}


async def extend(
    connection: Connection, owner: UUID, batches: Iterable[ClaimedBatch], lease_end: datetime
) -> None:
    """Hold on to batches that are still being sent."""
    keys = [(batch.app_id, batch.push_id, batch.batch_id) for batch in batches]
    await connection.execute(_EXTEND, owner, lease_end, keys)


async def waiting(connection: Connection, app_ids: Sequence[str], limit: int) -> dict[str, int]:
    """How many batches and broadcasts of each app are in the queue, each counted up to `limit`."""
    return {row[0]: row[1] for row in await connection.fetch(_WAITING, app_ids, limit)}


async def release(connection: Connection, owner: UUID, now: datetime) -> None:
    """Hand back every batch of this node: for a clean end."""
    await connection.execute(_RELEASE, owner, now)
