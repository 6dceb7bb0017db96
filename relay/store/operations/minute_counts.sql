-- :add
-- All nodes lock in one order, so that two of them never wait for each other.
INSERT INTO minute_count AS m (minute, outcome, reason, count)
SELECT $1, outcome, reason, count FROM unnest($2::text[], $3::text[], $4::bigint[]) AS n(outcome, reason, count)
ORDER BY outcome COLLATE "C", reason COLLATE "C"
ON CONFLICT (minute, outcome, reason) DO UPDATE SET count = m.count + excluded.count

-- :sum_by_step
SELECT date_bin(make_interval(secs => $3), minute, timestamptz 'epoch') AS at, outcome, reason,
       sum(count)::bigint AS count
FROM minute_count WHERE minute >= $1 AND minute < $2
GROUP BY at, outcome, reason ORDER BY at, outcome, reason

-- :delete_before
DELETE FROM minute_count m USING (
    SELECT minute, outcome, reason FROM minute_count WHERE minute < $1 ORDER BY minute LIMIT $2 FOR UPDATE SKIP LOCKED
) old
WHERE m.minute = old.minute AND m.outcome = old.outcome AND m.reason = old.reason
