-- Statements of broadcasts.py.

-- :adopt_broadcasts
-- Moves broadcasts of which nothing is cut to the order of teams, unless a node of version 0.1 may be cutting: it knows
-- the other order only. $1: nodes that were seen since then are running.
WITH fresh AS (
    SELECT app_id, push_id FROM broadcast WHERE pieces = 0
        AND NOT EXISTS (SELECT FROM node WHERE version LIKE '0.1.%' AND seen_at >= $1)
    ORDER BY app_id, push_id LIMIT 100 FOR UPDATE SKIP LOCKED
), moved AS (
    DELETE FROM broadcast b USING fresh f WHERE b.app_id = f.app_id AND b.push_id = f.push_id
    RETURNING b.app_id, b.push_id, b.token_kind, b.listed_only
)
INSERT INTO broadcast_by_team (app_id, push_id, token_kind, listed_only) SELECT * FROM moved

-- :lock_broadcast
-- Locks the broadcast whose turn it is. The next app after $1 has its turn, with its oldest broadcast. Apps are found by
-- jumping through the key (a loose index scan), so nothing is sorted that grows with the queue. An app whose batches are
-- sent more slowly than they are cut gets no turn meanwhile. For that, bulk batches ($2) that are due at $3 are counted
-- ($4), and not those that are leased, held or to be retried: they may be a matter of one team among many. All batches
-- of an app have the limit $5. One that an enrolment has locked is left for the next look.
WITH RECURSIVE apps AS (
    (SELECT app_id FROM broadcast_by_team ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT (SELECT b.app_id FROM broadcast_by_team b WHERE b.app_id > a.app_id ORDER BY b.app_id LIMIT 1)
    FROM apps a WHERE a.app_id IS NOT NULL
)
SELECT n.app_id, n.push_id, n.token_kind, n.listed_only, n.after_team, n.after_installation, p.created_at
FROM (SELECT app_id FROM apps WHERE app_id IS NOT NULL ORDER BY app_id <= $1, app_id OFFSET 0) a
CROSS JOIN LATERAL (
    SELECT * FROM broadcast_by_team b WHERE b.app_id = a.app_id ORDER BY b.push_id LIMIT 1 FOR UPDATE SKIP LOCKED
) n JOIN push p ON p.app_id = n.app_id AND p.push_id = n.push_id
WHERE NOT EXISTS (
    SELECT FROM batch w WHERE w.app_id = a.app_id AND w.bulk = $2 AND w.due_at <= $3 OFFSET $4
) AND NOT EXISTS (SELECT FROM batch w WHERE w.app_id = a.app_id OFFSET $5)
LIMIT 1

-- :cut_by_team
-- Cuts the next piece of the locked broadcast ($1, $2). It is a statement of its own: its snapshot is younger than the
-- lock, so it sees every change of a team that was noted before. $3 kind of device token, $4 listed devices only, ($5,
-- $6) the last installation that is in a batch, $7 its time, $8 installations a piece, $9 a batch, $10 the size from
-- which a batch is bulk.
-- A piece ends with a whole team, unless one team fills it. Installations whose team changed are left out; those of them
-- that were in no batch are cut with the last piece. A batch holds whole teams, those that begin in a window of
-- installations: the window is a batch less the largest team that fits into one. A team larger than a batch has
-- batches of its own. OFFSET 0 keeps PostgreSQL from hashing whole tables.
WITH piece AS MATERIALIZED (
    SELECT i.team_id, i.installation_id, i.device_id,
           row_number() OVER (ORDER BY i.team_id, i.installation_id) AS number
    FROM installation i
    WHERE i.app_id = $1 AND i.retired_at IS NULL AND (i.team_id, i.installation_id) > ($5, $6)
    ORDER BY i.team_id, i.installation_id LIMIT $8::bigint + 1
), bounds AS (
    SELECT count(*) <= $8 AS is_last, max(team_id) AS last_team, min(team_id) = max(team_id) AS is_one_team FROM piece
), taken AS (
    SELECT p.team_id, p.installation_id, p.device_id, true AS in_order FROM piece p CROSS JOIN bounds b
    WHERE b.is_last OR CASE WHEN b.is_one_team THEN p.number <= $8 ELSE p.team_id < b.last_team END
    UNION ALL
    SELECT i.team_id, i.installation_id, i.device_id, false FROM broadcast_move m
    JOIN installation i ON i.app_id = m.app_id AND i.installation_id = m.installation_id AND i.retired_at IS NULL
    WHERE m.app_id = $1 AND m.push_id = $2 AND NOT m.is_cut AND (SELECT is_last FROM bounds)
), looked AS MATERIALIZED (
    SELECT n.team_id, n.installation_id, n.in_order, n.found, n.found AND (NOT $4 OR EXISTS (
        SELECT FROM app a JOIN test_device l ON l.publisher_id = a.publisher_id JOIN device d USING (udid_digest)
        WHERE a.app_id = $1 AND d.device_id = n.device_id OFFSET 0
    )) AS wanted
    FROM (
        SELECT t.*, EXISTS (
            SELECT FROM device_token k
            WHERE k.app_id = $1 AND k.installation_id = t.installation_id AND k.kind = $3 AND k.retired_at IS NULL
            OFFSET 0
        ) AND NOT (t.in_order AND EXISTS (
            SELECT FROM broadcast_move m
            WHERE m.app_id = $1 AND m.push_id = $2 AND m.installation_id = t.installation_id OFFSET 0
        )) AS found
        FROM taken t
    ) n
), counts AS (
    SELECT count(*) FILTER (WHERE found) AS found, count(*) FILTER (WHERE wanted) AS wanted FROM looked
), numbered AS (
    SELECT team_id, installation_id, row_number() OVER (ORDER BY team_id, installation_id) AS number,
           row_number() OVER (PARTITION BY team_id ORDER BY installation_id) AS number_in_team,
           count(*) OVER (PARTITION BY team_id) AS team_size
    FROM looked WHERE wanted
), largest AS (
    SELECT coalesce(max(team_size) FILTER (WHERE team_size <= $9), 0) AS team_size FROM numbered
), batches AS (
    INSERT INTO batch (app_id, push_id, batch_id, bulk, attempt, due_at, installations)
    SELECT $1, $2, floor(random() * 4611686018427387904)::bigint, count(*) > $10, 0, $7,
           array_agg(n.installation_id ORDER BY n.team_id, n.installation_id)
    FROM numbered n CROSS JOIN largest l
    GROUP BY (n.number - n.number_in_team) / ($9::bigint - l.team_size + 1),
             CASE WHEN n.team_size > $9 THEN n.team_id END,
             CASE WHEN n.team_size > $9 THEN (n.number_in_team - 1) / $9 END
), counted AS (
    UPDATE push p SET targets = p.targets + c.wanted, skipped = p.skipped + c.found - c.wanted
    FROM counts c WHERE p.app_id = $1 AND p.push_id = $2
), last_taken AS (
    SELECT team_id, installation_id FROM taken WHERE in_order ORDER BY team_id DESC, installation_id DESC LIMIT 1
), moved AS (
    UPDATE broadcast_by_team b SET after_team = t.team_id, after_installation = t.installation_id, pieces = b.pieces + 1
    FROM last_taken t, bounds WHERE b.app_id = $1 AND b.push_id = $2 AND NOT bounds.is_last
), ended AS (
    DELETE FROM broadcast_by_team b USING bounds WHERE b.app_id = $1 AND b.push_id = $2 AND bounds.is_last
), forgotten AS (
    DELETE FROM broadcast_move m USING bounds WHERE m.app_id = $1 AND m.push_id = $2 AND bounds.is_last
)
SELECT $1::text, $2::uuid, c.found, b.is_last, c.wanted FROM counts c CROSS JOIN bounds b

-- :cut_broadcast
-- Looks at the next piece of a broadcast and cuts it into batches. $1 installations a piece, $2 a batch, $3 the size
-- from which a batch is bulk, $4 the app that had the last turn, $5 now. The next app after $4 has its turn, with its
-- oldest broadcast. Apps are found by jumping through the key (a loose index scan), and broadcasts in its order, so
-- nothing is sorted that grows with the queue. An app whose batches are sent more slowly than they are cut gets no turn
-- meanwhile. For that, batches that are due are counted ($6), and not those that are leased, held or to be retried:
-- they may be a matter of one team among many. All batches of an app have the limit $7. A piece is $1 installations,
-- whatever their tokens: a kind of token that hardly any of them has must not make it longer. Installations and tokens
-- are read along their keys; OFFSET 0 keeps PostgreSQL from hashing the whole table of tokens. A piece is dense if
-- reading all installations of the app between its first and its last costs little more than it. LATERAL makes the app
-- and `after` constants of the inner query, which then reads along the keys, up to the limit.
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

-- :count_targets
-- Counts what a push to everyone would reach, looking at up to $4 installations. $3: listed test devices only.
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
