-- The inputs of the labels that each day had at $moment. Relations: ledger. Parameters: $moment.
WITH labelled AS (
    SELECT * FROM ledger WHERE stage = 'labels' AND as_of <= $moment
),
built AS (
    SELECT * FROM labelled WHERE how = 'built'
    QUALIFY row_number() OVER (PARTITION BY shown_date ORDER BY as_of DESC, recorded_at DESC) = 1
),
-- A later entry can confirm the labels: its policy gives the same ones.
newest AS (
    SELECT * FROM labelled
    QUALIFY row_number() OVER (PARTITION BY shown_date ORDER BY as_of DESC, recorded_at DESC) = 1
),
interactions AS (
    SELECT * FROM ledger WHERE stage = 'interactions'
)
SELECT
    b.shown_date,
    -- The interactions that the labels were built from, which need not be the newest at the moment.
    arg_max(i.as_of, i.output_version) AS interactions_as_of,
    arg_max(i.input_version, i.output_version) AS events_version,
    b.as_of, b.policy, b.policy_version, b.policy_digest, b.output_version,
    n.as_of AS confirmed_as_of, n.policy AS confirmed_policy, n.policy_version AS confirmed_policy_version,
    n.policy_digest AS confirmed_digest, n.recorded_at
FROM built AS b
JOIN newest AS n USING (shown_date)
JOIN interactions AS i ON i.shown_date = b.shown_date AND i.output_version <= b.input_version
GROUP BY ALL
ORDER BY n.as_of, n.recorded_at, b.shown_date
