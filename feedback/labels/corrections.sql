-- Why final labels come out otherwise. Relations: changed (those that may, with the last final and the new verdict, and
-- what had been told before), was (the stored labels of their days), now (those to replace them), corrections, ledger.
-- Parameters: $digest, $as_of, $recorded_at, $run_id. To be filled in: the causes.
WITH recorded AS (
    -- Of a build that was interrupted: its corrections are newer than the last build that got as far as the ledger.
    SELECT c.* FROM corrections AS c LEFT JOIN (
        SELECT shown_date, max(recorded_at) AS built_at FROM ledger
        WHERE stage = 'labels' AND how = 'built' GROUP BY shown_date
    ) AS built USING (shown_date)
    WHERE built_at IS NULL OR c.recorded_at > built_at
),
explained AS (
    SELECT
        changed.*, was.ticket_id, was.evidence AS was_evidence,
        -- What an agent sent instead of a draft has the draft's evidence, also where it is no row any more.
        coalesce(now.evidence, draft.evidence, []) AS evidence
    FROM changed
    JOIN was USING (shown_date, draft_id)
    LEFT JOIN now USING (shown_date, draft_id)
    LEFT JOIN now AS draft ON draft.shown_date = was.shown_date AND draft.draft_id = was.preferred_over
),
judged AS (
    SELECT *, len(told) > 0 OR was_evidence IS DISTINCT FROM evidence AS is_told_more FROM explained
)
SELECT
    * EXCLUDE (was_evidence, evidence, told, is_told_more, differs),
    CASE
        WHEN was_policy_digest = $digest AND is_told_more THEN '{feedback}'
        WHEN was_policy_digest = $digest THEN '{rebuilt}'
        WHEN is_told_more THEN '{both}'
        ELSE '{policy}'
    END AS cause,
    $digest AS policy_digest,
    $as_of AS as_of,
    list_concat(told, list_filter(evidence, lambda event: NOT list_contains(was_evidence, event))) AS new_evidence,
    $recorded_at AS recorded_at,
    $run_id AS run_id
FROM judged AS e
-- Whether only a policy makes it wait cannot be told without the evidence, which is long.
WHERE (differs OR is_told_more) AND NOT EXISTS (
    SELECT 1 FROM recorded AS r
    WHERE r.shown_date = e.shown_date AND r.draft_id = e.draft_id
        AND r.was_as_of = e.was_as_of AND r.was_rule = e.was_rule
        AND r.label IS NOT DISTINCT FROM e.label AND r.tier IS NOT DISTINCT FROM e.tier
        AND r.weight IS NOT DISTINCT FROM e.weight AND r.rule IS NOT DISTINCT FROM e.rule
        AND r.state IS NOT DISTINCT FROM e.state
)
ORDER BY shown_date, draft_id
