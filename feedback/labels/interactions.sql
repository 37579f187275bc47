-- One row a draft, with every signal about it that was known at $as_of; and two a ranking, one for each of its texts.
-- Relations: events. Parameters: $days (dates the drafts were shown on), $as_of.
-- edit_similarity and edit_kind are added by feedback.labels.interactions, which compares the texts.
-- What is wide (texts, prompts) is read last, once it is known of which drafts.
-- To be filled in from label_policy's lists of event kinds and draft columns: showing_kinds, ranking_kinds, ticket_kinds,
-- decision_kinds, final_text_kinds and survey_score_kinds; signal_times, the last time of each signal that is a kind's
-- own; draft_columns and ranking_columns; preferred_suffix and other_suffix.
-- One query, or step by step: feedback.labels.interactions cuts it after each `-- Step`, and keeps shown and signals as tables.
WITH known AS NOT MATERIALIZED (
    SELECT * FROM events
    -- An arrival day counts once it has ended and is all there: then what is known at a moment is the same whenever it
    -- is asked for. A draft is never logged before it is shown (sources allow a clock one day of error), so older
    -- arrival days cannot matter.
    WHERE received_at <= $as_of AND arrival_date < CAST($as_of AS DATE) AND arrival_date >= list_min($days) - 1
),
-- Step
showings AS MATERIALIZED (
    SELECT draft_id, ticket_id, event_id, occurred_at, arrival_date FROM known
    WHERE kind IN ({showing_kinds})
        AND draft_id NOT IN (
            SELECT draft_id FROM events
            WHERE kind IN ({showing_kinds}) AND occurred_at < list_min($days)
                AND received_at <= $as_of AND arrival_date < CAST($as_of AS DATE)
        )
),
shown_again AS MATERIALIZED (SELECT draft_id FROM showings GROUP BY draft_id HAVING count(*) > 1),
shown AS MATERIALIZED (
    -- A draft shown twice is one interaction, from the first time on.
    SELECT * FROM showings WHERE draft_id NOT IN (FROM shown_again)
    UNION ALL
    SELECT * FROM showings WHERE draft_id IN (FROM shown_again)
    QUALIFY row_number() OVER (PARTITION BY draft_id ORDER BY occurred_at, event_id) = 1
),
-- Step
drafts AS (
    SELECT * FROM shown WHERE CAST(occurred_at AS DATE) IN (SELECT unnest($days))
),
-- The last draft shown on each ticket: for every earlier one of it, the customer was back.
last_shown AS (
    SELECT ticket_id, max(occurred_at) AS occurred_at, arg_max(event_id, (occurred_at, event_id)) AS event_id
    FROM shown GROUP BY ticket_id HAVING count(*) > 1
),
-- What became of the ticket speaks of every draft that it had been shown by then.
spoken_of AS (
    SELECT draft_id, occurred_at, false AS of_ticket, draft_id AS id FROM drafts
    UNION ALL
    SELECT draft_id, occurred_at, true AS of_ticket, ticket_id AS id FROM drafts
),
said AS (
    SELECT event_id, kind, occurred_at, arrival_date, agent_id, final_text, reasons, score,
        kind IN ({ticket_kinds}) AS of_ticket,
        CASE WHEN of_ticket THEN ticket_id ELSE draft_id END AS id
    FROM known WHERE kind NOT IN ({ranking_kinds})
),
signals AS (
    SELECT d.draft_id, CAST(d.occurred_at AS DATE) AS shown_date, e.* EXCLUDE (arrival_date, of_ticket, id)
    FROM said AS e
    JOIN spoken_of AS d
        ON d.of_ticket = e.of_ticket AND d.id = e.id AND (NOT e.of_ticket OR e.occurred_at >= d.occurred_at)
        -- What else is asked for must not decide how far back one looks.
        AND e.arrival_date >= CAST(d.occurred_at AS DATE) - 1
    UNION ALL BY NAME
    SELECT d.draft_id, CAST(d.occurred_at AS DATE) AS shown_date, l.event_id, l.occurred_at, 'repeat_contact' AS kind
    FROM drafts AS d JOIN last_shown AS l ON l.ticket_id = d.ticket_id AND l.occurred_at > d.occurred_at
),
-- Step
summary AS (
    SELECT
        draft_id,
        min(occurred_at) FILTER (kind IN ({decision_kinds})) AS decided_at,
        {signal_times},
        arg_max(score, (occurred_at, event_id)) FILTER (kind IN ({survey_score_kinds})) AS survey_score,
        arg_max(final_text, (occurred_at, event_id))
            FILTER (kind IN ({final_text_kinds}) AND final_text IS NOT NULL) AS final_text,
        arg_min(agent_id, (occurred_at, event_id)) FILTER (agent_id IS NOT NULL) AS agent_id,
        list_sort(list_distinct(flatten(list(reasons) FILTER (reasons IS NOT NULL)))) AS reasons,
        list(event_id ORDER BY occurred_at, event_id) AS evidence
    FROM signals WHERE shown_date IN (SELECT unnest($days))
    GROUP BY draft_id
),
found AS (
    SELECT shown.event_id, shown.arrival_date, summary.* FROM shown JOIN summary USING (draft_id)
),
rankings AS (
    SELECT * FROM events
    WHERE kind IN ({ranking_kinds}) AND CAST(occurred_at AS DATE) IN (SELECT unnest($days))
        AND received_at <= $as_of AND arrival_date < CAST($as_of AS DATE) AND arrival_date >= list_min($days) - 1
)
SELECT
    d.draft_id,
    d.ticket_id,
    s.agent_id,
    d.source,
    {draft_columns},
    d.occurred_at AS shown_at,
    CAST(d.occurred_at AS DATE) AS shown_date,
    d.prompt,
    d.completion,
    -- Sent as it stood, unless an event says what was sent instead, or that it was changed and not to what.
    CASE
        WHEN s.final_text IS NOT NULL THEN s.final_text
        WHEN s.accepted_at IS NOT NULL AND s.edited_at IS NULL THEN d.completion
    END AS final_text,
    NULL AS preferred_over,
    s.* EXCLUDE (event_id, arrival_date, draft_id, agent_id, final_text, reasons, evidence),
    coalesce(s.reasons, []) AS reasons,
    epoch_us(s.decided_at - d.occurred_at) / 1e6 AS seconds_to_decision,
    d.extra,
    s.evidence,
    $as_of AS as_of
FROM (SELECT * FROM events WHERE kind IN ({showing_kinds}) AND arrival_date >= list_min($days) - 1) AS d
JOIN found AS s USING (event_id, arrival_date)
UNION ALL BY NAME
SELECT
    r.event_id || side.suffix AS draft_id,
    r.ticket_id,
    r.agent_id,
    r.source,
    {ranking_columns},
    r.occurred_at AS shown_at,
    CAST(r.occurred_at AS DATE) AS shown_date,
    r.prompt,
    CASE WHEN side.preferred THEN r.completion ELSE r.final_text END AS completion,
    CASE WHEN side.preferred THEN r.event_id || '{other_suffix}' END AS preferred_over,
    CASE WHEN side.preferred THEN r.occurred_at END AS preferred_at,
    CASE WHEN NOT side.preferred THEN r.occurred_at END AS not_preferred_at,
    coalesce(r.reasons, []) AS reasons,
    r.extra,
    [r.event_id] AS evidence,
    $as_of AS as_of
FROM rankings AS r, (VALUES ('{preferred_suffix}', true), ('{other_suffix}', false)) AS side(suffix, preferred)
ORDER BY shown_at, draft_id
