-- Frames of labels. Relations: labels (the checked days and the 28 before them), interactions, days (day: the checked
-- ones). Macro: name_of. To be filled in: desirable, and the classes that train.

-- Frame rows
-- name_of runs after the count: there are few combinations and many rows.
WITH combinations AS (
    SELECT shown_date, label, tier, rule, state,
        coalesce(isfinite(weight) AND weight >= 0 AND (label <> 'abstain' OR weight = 0), false) AS weight_in_range,
        state <> 'final' OR coalesce(matures_at <= as_of, false) AS final_in_time,
        coalesce(rule, '') <> '' AS rule_named,
        coalesce(len(evidence), 0) > 0 AS has_evidence,
        count(*) AS rows
    FROM labels SEMI JOIN days ON shown_date = day
    GROUP BY ALL
)
SELECT CAST(shown_date AS VARCHAR) AS day,
    coalesce(name_of(label), 'none') AS label,
    -- A label without a tier, or an abstention with one, gets a name that no tier has.
    CASE
        WHEN (tier IS NULL) = (label IS NOT DISTINCT FROM 'abstain') THEN coalesce(name_of(tier), 'none')
        WHEN tier IS NULL THEN 'missing'
        ELSE 'given to an abstention'
    END AS tier,
    name_of(rule) AS rule,
    coalesce(name_of(state), 'none') AS state,
    * EXCLUDE (shown_date, label, tier, rule, state)
FROM combinations
ORDER BY ALL;

-- Frame days
-- Shares are compared on days with nine labels in ten final: only final labels train, and a recent day lacks late
-- feedback. A day is checked only with 50 labelled drafts and seven such days before it.
WITH by_day AS (
    SELECT shown_date, count(*) AS labels, count(*) - count(DISTINCT draft_id) AS repeated,
        count(DISTINCT policy_digest) AS policies,
        count(*) FILTER (label = '{desirable}') AS desirable,
        count(*) FILTER (label IN ({classes})) AS judged,
        count(*) FILTER (state = 'final') >= 0.9 * count(*) AS settled
    FROM labels GROUP BY shown_date
),
shares AS (
    SELECT *, CASE WHEN settled AND judged >= 50 THEN desirable / judged END AS desirable_share,
        CASE WHEN settled AND labels >= 50 THEN 1 - judged / labels END AS abstain_share
    FROM by_day
),
-- The share of the earlier days and its variance between days; the query below adds the variance of the day's own count.
before AS (
    SELECT day,
        count(desirable_share) AS desirable_days, coalesce(var_samp(desirable_share), 0) AS desirable_variance,
        sum(desirable) FILTER (desirable_share IS NOT NULL) / sum(judged) FILTER (desirable_share IS NOT NULL)
            AS desirable_before,
        count(abstain_share) AS abstain_days, coalesce(var_samp(abstain_share), 0) AS abstain_variance,
        1 - sum(judged) FILTER (abstain_share IS NOT NULL) / sum(labels) FILTER (abstain_share IS NOT NULL)
            AS abstain_before
    FROM days JOIN shares ON shown_date BETWEEN day - 28 AND day - 1
    GROUP BY day
),
unmatched_rows AS (
    SELECT coalesce(i.shown_date, l.shown_date) AS shown_date, count(*) AS unmatched
    FROM (SELECT shown_date, draft_id FROM interactions SEMI JOIN days ON shown_date = day) AS i
    FULL JOIN (
        SELECT shown_date, regexp_replace(draft_id, $sent_suffix || '$', '') AS of_draft, draft_id
        FROM labels SEMI JOIN days ON shown_date = day
    ) AS l ON l.shown_date = i.shown_date AND l.of_draft = i.draft_id
    WHERE l.draft_id IS NULL OR i.draft_id IS NULL
    GROUP BY ALL
)
SELECT CAST(days.day AS VARCHAR) AS day, coalesce(repeated, 0) AS repeated, coalesce(unmatched, 0) AS unmatched,
    coalesce(policies, 0) AS policies,
    CASE WHEN settled AND labels >= 50 THEN round(judged / labels, 3) END AS judged_share,
    round(desirable_share, 3) AS desirable_share, round(desirable_before, 3) AS desirable_before,
    -- As a share of the allowed difference.
    CASE WHEN desirable_days >= 7 THEN round(abs(desirable_share - desirable_before) / greatest(
        0.15, 4 * sqrt(desirable_before * (1 - desirable_before) / judged + desirable_variance)), 3) END AS drift,
    round(abstain_share, 3) AS abstain_share, round(abstain_before, 3) AS abstain_before,
    CASE WHEN abstain_days >= 7 THEN round(abs(abstain_share - abstain_before) / greatest(
        0.15, 4 * sqrt(abstain_before * (1 - abstain_before) / labels + abstain_variance)), 3) END AS abstain_drift
FROM days
LEFT JOIN shares ON shares.shown_date = days.day
LEFT JOIN before ON before.day = days.day
LEFT JOIN unmatched_rows ON unmatched_rows.shown_date = days.day
ORDER BY days.day;
