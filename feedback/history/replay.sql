-- What made the labels that each day had at $moment. Relations: ledger. Parameters: $moment.
WITH labelled AS (
    SELECT * FROM ledger WHERE stage = 'labels' AND as_of <= $moment
),
built AS (
    SELECT * FROM labelled WHERE how = 'built'
    QUALIFY row_number() OVER (PARTITION BY shown_date ORDER BY as_of DESC, recorded_at DESC) = 1
),
-- Since then a policy may have been recorded that gives the very labels that are there.
newest AS (
    SELECT * FROM labelled
    QUALIFY row_number() OVER (PARTITION BY shown_date ORDER BY as_of DESC, recorded_at DESC) = 1
),
heard AS (
    SELECT * FROM ledger WHERE stage = 'interactions'
)
SELECT
    b.shown_date,
    -- The interactions that the labels were made from, which need not be the newest of then.
    arg_max(h.as_of, h.output_version) AS heard_as_of,
    arg_max(h.input_version, h.output_version) AS heard_version,
    b.as_of, b.policy, b.policy_version, b.policy_digest, b.output_version,
    n.as_of AS stands_since, n.policy AS standing_policy, n.policy_version AS standing_policy_version,
    n.policy_digest AS standing_digest, n.recorded_at
FROM built AS b
JOIN newest AS n USING (shown_date)
JOIN heard AS h ON h.shown_date = b.shown_date AND h.output_version <= b.input_version
GROUP BY ALL
ORDER BY n.as_of, n.recorded_at, b.shown_date
