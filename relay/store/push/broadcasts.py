"""SQL of pushes to every customer of an app: they are cut into batches inside the database, piece by piece.

Nothing of a piece passes through the relay, so its memory does not grow with the audience.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from relay.store.database import Connection
from relay.store.push.pushes import BULK

# The next app after $4 has its turn, with its oldest broadcast. Apps are found by jumping through the key (a loose
# index scan), and broadcasts in its order, so nothing is sorted that grows with what waits. An app whose batches are
# not worked off as fast as they are cut has no turn meanwhile. For that, what is due is counted ($6), and not what is
# leased, held or to be tried again: that may be a matter of one team among many. All of it has the limit $7.
# A piece is $1 installations, whatever their tokens: a kind of token that hardly any of them has must not make it
# longer. They are read along the keys, and so are their tokens; OFFSET 0 keeps PostgreSQL from making a hash of all
# tokens there are instead.
# A piece is dense if reading all copies of the app between its first and its last costs little more than reading it.
# LATERAL makes the app and `after` constants of the inner query, which then reads along the keys, up to the limit.
_CUT = """
WITH RECURSIVE apps AS (
    (SELECT app_id FROM broadcast ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.app_id FROM broadcast b WHERE b.app_id > a.app_id ORDER BY b.app_id LIMIT 1)
    FROM apps a WHERE a.app_id IS NOT NULL
), turn AS (
    SELECT n.*, p.created_at FROM (
        SELECT app_id FROM apps WHERE app_id IS NOT NULL ORDER BY app_id <= $4, app_id OFFSET 0
    ) a CROSS JOIN LATERAL (
        SELECT b.app_id, b.push_id, b.token_kind, b.listed_only, b.after FROM broadcast b
        WHERE b.app_id = a.app_id
        ORDER BY b.push_id LIMIT 1 FOR UPDATE SKIP LOCKED
    ) n JOIN push p ON p.app_id = n.app_id AND p.push_id = n.push_id
    WHERE NOT EXISTS (
        SELECT FROM batch w
        WHERE w.app_id = a.app_id AND w.bulk = ($2::bigint > $3::bigint) AND w.due_at <= $5 OFFSET $6
    ) AND NOT EXISTS (SELECT FROM batch w WHERE w.app_id = a.app_id OFFSET $7)
    LIMIT 1
), piece AS MATERIALIZED (
    SELECT n.installation_id, n.found, n.found AND (NOT t.listed_only OR EXISTS (
        SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
        WHERE a.app_id = t.app_id AND d.device_id = n.device_id OFFSET 0
    )) AS wanted
    FROM turn t CROSS JOIN LATERAL (
        SELECT i.installation_id, i.device_id, i.retired_at IS NULL AND EXISTS (
            SELECT FROM device_token k
            WHERE k.app_id = t.app_id AND k.installation_id = i.installation_id AND k.kind = t.token_kind
                  AND k.retired_at IS NULL OFFSET 0
        ) AS found
        FROM installation i
        WHERE i.app_id = t.app_id AND i.installation_id > t.after
        ORDER BY i.installation_id LIMIT $1
    ) n
), looked AS (
    SELECT count(*) AS copies, count(*) FILTER (WHERE found) AS found, count(*) FILTER (WHERE wanted) AS wanted,
           max(installation_id) AS last FROM piece
), batches AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, dense, installations)
    SELECT t.app_id, t.push_id, floor(random() * 4611686018427387904)::bigint, count(*) > $3, 0, t.created_at,
           l.copies < 4 * l.wanted, array_agg(n.installation_id ORDER BY n.installation_id)
    FROM turn t CROSS JOIN looked l CROSS JOIN (
        SELECT installation_id, (row_number() OVER (ORDER BY installation_id) - 1) / $2 AS number
        FROM piece WHERE wanted
    ) n
    GROUP BY t.app_id, t.push_id, t.created_at, l.copies, l.wanted, n.number
), counted AS (
    UPDATE push p SET targets = p.targets + l.wanted, skipped = p.skipped + l.found - l.wanted
    FROM turn t, looked l WHERE p.app_id = t.app_id AND p.push_id = t.push_id
), moved AS (
    UPDATE broadcast b SET after = l.last, pieces = b.pieces + 1
    FROM turn t, looked l WHERE b.app_id = t.app_id AND b.push_id = t.push_id AND l.copies = $1
), ended AS (
    DELETE FROM broadcast b USING turn t, looked l
    WHERE b.app_id = t.app_id AND b.push_id = t.push_id AND l.copies < $1
)
SELECT t.app_id, t.push_id, l.found, l.copies < $1, l.wanted FROM turn t, looked l
"""

_COUNT = """
SELECT count(*) AS copies, count(*) FILTER (WHERE found) AS found, count(*) FILTER (WHERE found AND wanted) AS wanted
FROM (
    SELECT EXISTS (
        SELECT FROM device_token k
        WHERE k.app_id = $1 AND k.installation_id = i.installation_id AND k.kind = $2 AND k.retired_at IS NULL OFFSET 0
    ) AS found, NOT $3 OR EXISTS (
        SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
        WHERE a.app_id = $1 AND d.device_id = i.device_id OFFSET 0
    ) AS wanted
    FROM (
        SELECT installation_id, device_id FROM installation WHERE app_id = $1 AND retired_at IS NULL LIMIT $4
    ) i
) n
"""


class Cut(NamedTuple):
    """A piece of a broadcast: how many of its installations have a device token, whether it was the last one, and how
    many are targets."""

    app_id: str
    push_id: UUID
    found: int
    last: bool
    targets: int


async def cut(
    connection: Connection,
    piece: int,
    batch_size: int,
    now: datetime,
    *,
    after_app: str = "",
    due_limit: int = 200,
    queue_limit: int = 100_000,
) -> Cut | None:
    """Look at the next `piece` installations of a broadcast, and cut those it reaches into batches.

    Its app is the next one after `after_app` of which fewer than `due_limit` batches are due, and fewer than
    `queue_limit` in the queue; with it, apps take turns. None: no app has a broadcast that may be cut now.
    """
    row = await connection.fetchrow(
        _CUT, piece, batch_size, BULK, after_app, now, due_limit - 1, queue_limit - 1
    )
    return Cut(*row) if row else None


async def count(
    connection: Connection, app_id: str, token_kind: str, listed_only: bool, at_most: int
) -> tuple[int, int] | None:
    """(targets, skipped) of a push to everyone, if the app has no more than `at_most` copies; None: it has more."""
    row = await connection.fetchrow(_COUNT, app_id, token_kind, listed_only, at_most + 1)
    assert row is not None  # it counts
    return None if row["copies"] > at_most else (row["wanted"], row["found"] - row["wanted"])
