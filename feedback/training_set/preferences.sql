-- Pairs of a preferred and a rejected text: the two sides of a ranking, or the text that an agent sent and the draft.
-- Relations: labels. Parameters: $salt, $heldout, $tiers, $factors, $white_space, as in rows.sql. To be filled
-- in: better_columns, the draft columns that sets have, of the preferred text; desirable.
WITH pairs AS (
    SELECT
        better.draft_id AS row_id, worse.draft_id AS rejected_row_id, better.ticket_id, better.shown_date,
        {better_columns}, better.tier, better.rule,
        redact_prompt(better.prompt) AS prompt,
        redact(trim(coalesce(better.completion, ''), $white_space)) AS chosen,
        redact(trim(coalesce(worse.completion, ''), $white_space)) AS rejected
    FROM labels AS better JOIN labels AS worse
        ON better.preferred_over = worse.draft_id AND better.shown_date = worse.shown_date
    WHERE better.state = 'final' AND worse.state = 'final' AND better.label = {desirable}
        AND better.weight * list_extract($factors, list_position($tiers, better.tier)) > 0
)
SELECT *, split_of(ticket_id, $salt, $heldout) AS split
FROM pairs AS p
WHERE chosen <> '' AND rejected <> '' AND chosen <> rejected
    -- Texts that were preferred in both directions are no pair.
    AND NOT EXISTS (
        SELECT 1 FROM pairs AS q WHERE q.prompt = p.prompt AND q.chosen = p.rejected AND q.rejected = p.chosen
    )
QUALIFY row_number() OVER (PARTITION BY prompt, chosen, rejected ORDER BY shown_date, row_id) = 1
ORDER BY row_id
