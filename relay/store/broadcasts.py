"""SQL of pushes to every customer of an app: they are cut into batches inside the database, piece by piece.

Nothing of a piece passes through the relay, so its memory does not grow with the audience.
"""

from __future__ import annotations

from relay.store.database import Connection
from relay.store.pushes import BULK

# The broadcast with the fewest pieces comes first, so that a short one does not wait for the end of a long one.
# A piece is dense if reading all copies of the app between its first and its last costs little more than reading it.
# LATERAL makes the app and `after` constants of the inner query, which then reads along the keys, up to the limit.
_CUT = """
WITH turn AS (
    SELECT b.app_id, b.push_id, b.token_kind, b.listed_only, b.after, p.created_at
    FROM broadcast b JOIN push p ON p.app_id = b.app_id AND p.push_id = b.push_id
    ORDER BY b.pieces, b.push_id LIMIT 1 FOR UPDATE OF b SKIP LOCKED
), piece AS MATERIALIZED (
    SELECT n.installation_id, NOT t.listed_only OR EXISTS (
        SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
        WHERE a.app_id = t.app_id AND d.device_id = n.device_id
    ) AS wanted
    FROM turn t CROSS JOIN LATERAL (
        SELECT i.installation_id, i.device_id
        FROM installation i
        JOIN device_token k ON k.app_id = t.app_id AND k.installation_id = i.installation_id
             AND k.kind = t.token_kind AND k.retired_at IS NULL
        WHERE i.app_id = t.app_id AND i.installation_id > t.after AND i.retired_at IS NULL
        ORDER BY i.installation_id LIMIT $1
    ) n
), looked AS (
    SELECT count(*) AS found, count(*) FILTER (WHERE wanted) AS wanted, min(installation_id) AS first,
           max(installation_id) AS last FROM piece
), between AS (
    SELECT n.copies < 4 * l.wanted AS dense FROM turn t CROSS JOIN looked l CROSS JOIN LATERAL (
        SELECT count(*) AS copies FROM installation i
        WHERE i.app_id = t.app_id AND i.installation_id BETWEEN l.first AND l.last
    ) n
), batches AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, dense, installations)
    SELECT t.app_id, t.push_id, floor(random() * 4611686018427387904)::bigint, count(*) > $3, 0, t.created_at,
           w.dense, array_agg(n.installation_id ORDER BY n.installation_id)
    FROM turn t CROSS JOIN between w CROSS JOIN (
        SELECT installation_id, (row_number() OVER (ORDER BY installation_id) - 1) / $2 AS number
        FROM piece WHERE wanted
    ) n
    GROUP BY t.app_id, t.push_id, t.created_at, w.dense, n.number
), counted AS (
    UPDATE push p SET targets = p.targets + l.wanted, skipped = p.skipped + l.found - l.wanted
    FROM turn t, looked l WHERE p.app_id = t.app_id AND p.push_id = t.push_id
), moved AS (
    UPDATE broadcast b SET after = l.last, pieces = b.pieces + 1
    FROM turn t, looked l WHERE b.app_id = t.app_id AND b.push_id = t.push_id AND l.found = $1
), ended AS (
    DELETE FROM broadcast b USING turn t, looked l
    WHERE b.app_id = t.app_id AND b.push_id = t.push_id AND l.found < $1
)
SELECT l.found FROM turn t, looked l
"""


async def cut(connection: Connection, piece: int, batch_size: int) -> int | None:
    """Cut the next `piece` installations of a broadcast into batches. None: no broadcast is waiting.

    Returns the number of installations found; fewer than `piece` means that this broadcast is cut to its end.
    """
    found: int | None = await connection.fetchval(_CUT, piece, batch_size, BULK)
    return found
