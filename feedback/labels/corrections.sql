-- Corrections of final labels, with their cause. Relations: changed (labels that may have changed, with the last final
-- and the new label, and the new evidence of earlier corrections), was (the stored labels of their days), now (the
-- labels that replace them), corrections, ledger. Parameters: $digest, $as_of, $recorded_at, $run_id. To be filled in:
-- the causes.
WITH recorded AS (
    -- Corrections of an interrupted build: they are newer than the last build in the ledger.
    SELECT c.* FROM corrections AS c LEFT JOIN (
        SELECT shown_date, max(recorded_at) AS built_at FROM ledger
        WHERE stage = 'labels' AND how = 'built' GROUP BY shown_date
    ) AS built USING (shown_date)
    WHERE built_at IS NULL OR c.recorded_at > built_at
),
explained AS (
    SELECT
        changed.*, was.ticket_id, was.evidence AS was_evidence,
        -- The text that an agent sent instead of a draft has the draft's evidence, even if it is no longer a row.
        coalesce(now.evidence, draft.evidence, []) AS evidence
    FROM changed
    JOIN was USING (shown_date, draft_id)
    LEFT JOIN now USING (shown_date, draft_id)
    LEFT JOIN now AS draft ON draft.shown_date = was.shown_date AND draft.draft_id = was.preferred_over
),
compared AS (
    SELECT *, len(earlier_evidence) > 0 OR was_evidence IS DISTINCT FROM evidence AS has_new_evidence FROM explained
)
SELECT
    * EXCLUDE (was_evidence, evidence, earlier_evidence, has_new_evidence, differs),
    CASE
        WHEN was_policy_digest = $digest AND has_new_evidence THEN '{feedback}'
        WHEN was_policy_digest = $digest THEN '{rebuilt}'
        WHEN has_new_evidence THEN '{both}'
        ELSE '{policy}'
    END AS cause,
    $digest AS policy_digest,
    $as_of AS as_of,
    list_concat(
        earlier_evidence, list_filter(evidence, lambda event: NOT list_contains(was_evidence, event))
    ) AS new_evidence,
    $recorded_at AS recorded_at,
    $run_id AS run_id
FROM compared AS e
-- A label that waits only because of the policy has no new evidence; the evidence is long, so this check comes late.
WHERE (differs OR has_new_evidence) AND NOT EXISTS (
    SELECT 1 FROM recorded AS r
    WHERE r.shown_date = e.shown_date AND r.draft_id = e.draft_id
        AND r.was_as_of = e.was_as_of AND r.was_rule = e.was_rule
        AND r.label IS NOT DISTINCT FROM e.label AND r.tier IS NOT DISTINCT FROM e.tier
        AND r.weight IS NOT DISTINCT FROM e.weight AND r.rule IS NOT DISTINCT FROM e.rule
        AND r.state IS NOT DISTINCT FROM e.state
)
ORDER BY shown_date, draft_id
