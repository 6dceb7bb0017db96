-- :write
INSERT INTO audit (at, actor, token_id, action, subject, publisher_id, detail)
SELECT $1, $2, $3, action, subject, publisher_id, detail
FROM unnest($4::text[], $5::text[], $6::uuid[], $7::jsonb[]) AS e (action, subject, publisher_id, detail)

-- :list
SELECT audit_id, at, actor, token_id, publisher_id, action, subject, detail FROM audit
WHERE audit_id < $1 ORDER BY audit_id DESC LIMIT $2

-- :list_of_publisher
SELECT audit_id, at, actor, token_id, publisher_id, action, subject, detail FROM audit
WHERE publisher_id = $3 AND audit_id < $1 ORDER BY audit_id DESC LIMIT $2

-- :search
-- Looks through a limited number of entries: a rare one would else be searched for in the whole log.
WITH looked AS MATERIALIZED (
    SELECT audit_id, at, actor, token_id, publisher_id, action, subject, detail FROM audit
    WHERE audit_id < $1 ORDER BY audit_id DESC LIMIT $2
), found AS (
    SELECT * FROM looked
    WHERE ($4::text IS NULL OR action = $4) AND ($5::text IS NULL OR actor = $5) AND ($6::text IS NULL OR subject = $6)
      AND ($7::uuid IS NULL OR publisher_id = $7)
    ORDER BY audit_id DESC LIMIT $3
)
SELECT searched_to, f.*
FROM (SELECT CASE WHEN count(*) = $2 THEN min(audit_id) END AS searched_to FROM looked) s LEFT JOIN found f ON true
ORDER BY audit_id DESC

-- :delete_before
DELETE FROM audit WHERE audit_id = ANY (ARRAY(SELECT audit_id FROM audit WHERE at < $1 ORDER BY at LIMIT $2))
