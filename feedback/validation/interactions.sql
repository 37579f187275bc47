-- Frames of interactions. Relations: interactions, days (day: the checked ones). Macro: name_of.

-- Frame rows
-- name_of runs after the count: there are few combinations and many rows.
WITH combinations AS (
    SELECT shown_date, source, edit_kind,
        coalesce(draft_id, '') <> '' AND coalesce(ticket_id, '') <> '' AS ids_given,
        coalesce(CAST(shown_at AS DATE) = shown_date, false) AS on_its_day,
        (edit_kind IS NULL) = (edit_similarity IS NULL) AND coalesce(edit_similarity BETWEEN 0 AND 1, true)
            AS similarity_in_range,
        coalesce(len(evidence), 0) > 0 AS has_evidence,
        coalesce(known_until <= as_of, true) AS known_in_time,
        count(*) AS rows
    FROM interactions SEMI JOIN days ON shown_date = day
    GROUP BY ALL
)
SELECT CAST(shown_date AS VARCHAR) AS day, name_of(source) AS source, coalesce(name_of(edit_kind), 'not sent') AS edit_kind,
    * EXCLUDE (shown_date, source, edit_kind)
FROM combinations
ORDER BY ALL;

-- Frame days
WITH by_day AS (
    SELECT shown_date, count(*) AS drafts, count(*) - count(DISTINCT draft_id) AS repeated,
        avg(CAST(coalesce(trim(completion, $white_space), '') = '' AS INTEGER)) AS blank_share,
        avg(CAST(coalesce(len(prompt), 0) = 0 AS INTEGER)) AS promptless_share,
        avg(CAST(coalesce(seconds_to_decision < 0, false) AS INTEGER)) AS early_share
    FROM interactions SEMI JOIN days ON shown_date = day
    GROUP BY shown_date
)
SELECT CAST(day AS VARCHAR) AS day, coalesce(repeated, 0) AS repeated,
    CASE WHEN drafts >= 50 THEN round(blank_share, 3) END AS blank_share,
    CASE WHEN drafts >= 50 THEN round(promptless_share, 3) END AS promptless_share,
    CASE WHEN drafts >= 50 THEN round(early_share, 3) END AS early_share
FROM days LEFT JOIN by_day ON shown_date = day
ORDER BY day;
