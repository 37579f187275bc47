-- The labels of some interactions. To be filled in: asked, the interactions; labelled and sent, the policy's queries over
-- them; settings, a table of one row: the policy's name, version and digest, as_of, and until when anything is known.
WITH asked AS ({asked}),
drafts AS ({labelled}),
texts AS (
    SELECT * FROM drafts
    UNION ALL BY NAME
    -- What an agent sent instead: a row of its own, of the draft's ticket and day.
    SELECT * REPLACE (draft_id || '#sent' AS draft_id, final_text AS completion, draft_id AS preferred_over)
    FROM ({sent})
)
SELECT texts.* EXCLUDE (as_of),
    CASE WHEN texts.matures_at <= least(settings.known_until, texts.as_of) THEN 'final' ELSE 'provisional' END AS state,
    settings.policy, settings.policy_version, settings.policy_digest, settings.as_of
FROM texts, {settings} AS settings
