-- Statements of broadcasts.py.

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
