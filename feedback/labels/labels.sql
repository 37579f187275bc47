-- The labels of some interactions. To be filled in: asked, the interactions; labelled and sent, the policy's queries over
-- them; sent_suffix; the states final and provisional; settings, a table of one row: the policy's name, version and
-- digest, and as_of.
WITH asked AS ({asked}),
drafts AS ({labelled}),
texts AS (
    SELECT * FROM drafts
    UNION ALL BY NAME
    -- What an agent sent instead: a row of its own, of the draft's ticket and day.
    SELECT * REPLACE (draft_id || '{sent_suffix}' AS draft_id, final_text AS completion, draft_id AS preferred_over)
    FROM ({sent})
)
SELECT texts.* EXCLUDE (as_of, known_until),
    -- Not what has arrived by now: what the interaction was made from. The rest has not been looked at.
    CASE
        WHEN texts.matures_at <= settings.as_of AND texts.matures_at <= texts.known_until THEN '{final}'
        ELSE '{provisional}'
    END AS state,
    settings.policy, settings.policy_version, settings.policy_digest, settings.as_of
FROM texts, {settings} AS settings
