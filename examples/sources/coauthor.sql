-- description: CoAuthor (Lee et al., CHI 2022, CC BY-SA 4.0): writers who take, pass over and edit GPT-3's suggestions
--
-- A query shows up to five suggestions (`draft_shown`, one a rank). The writer takes one (`draft_accepted`): the others
-- are dismissed with it; or takes none (`drafts_dismissed`): all are. At the session's end `draft_final` tells what
-- is left of a taken suggestion, a late signal:
--   the same text   nothing new: the line is ignored
--   another text    `edited`, with the text as it ended
--   no text         `rejected`, with the reason `deleted`: the writer took it and threw it out after all
-- `drafts_abandoned` (the writer typed on before deciding) and `drafts_reopened` (looked at the list once more) decide
-- nothing and are ignored: the suggestions of an abandoned query stay undecided.

WITH parsed AS (
    SELECT
        file,
        line,
        from_json(row, '{
            "event_id": "BIGINT", "session_id": "VARCHAR", "agent_id": "VARCHAR", "ts_ms": "BIGINT", "type": "VARCHAR",
            "query_id": "BIGINT", "rank": "BIGINT", "text": "VARCHAR"
        }') AS event
    FROM lines
),
events AS (
    SELECT
        file,
        line,
        event.*,
        epoch_ms(event.ts_ms) AS occurred_at,
        format('coauthor-{}-{}-{}', event.session_id, event.query_id, event.rank) AS draft_id,
        CASE WHEN event.type IN ('session_open', 'draft_accepted') THEN event."text" END AS passage
    FROM parsed
),
-- The prompt is the opening and what was taken since. What the writer typed between is not in the log: the model sees
-- less of the story than the writer did.
stories AS (
    SELECT file, session_id, list(passage ORDER BY line) FILTER (passage IS NOT NULL) AS passages
    FROM events
    GROUP BY file, session_id
),
shown AS (
    SELECT *, count(passage) OVER (PARTITION BY file, session_id ORDER BY line) AS passages_before
    FROM events
    QUALIFY type = 'draft_shown'
)

SELECT
    file,
    line,
    'draft_shown' AS kind,
    format('coauthor-{}', event_id) AS event_id,
    draft_id,
    session_id AS ticket_id,
    agent_id,
    occurred_at,
    [{'role': 'user', 'content': array_to_string(passages[1:passages_before], ' ')}] AS prompt,
    "text" AS completion,
    'gpt-3' AS model_version
FROM shown LEFT JOIN stories USING (file, session_id)

UNION ALL BY NAME

-- One decision, an event for each suggestion of its query; without any, null ids send the line to the quarantine.
SELECT
    decision.file,
    decision.line,
    CASE WHEN decision.rank = shown.rank THEN 'accepted' ELSE 'dismissed' END AS kind,
    format('coauthor-{}-{}', decision.event_id, shown.rank) AS event_id,
    shown.draft_id,
    decision.session_id AS ticket_id,
    decision.agent_id,
    decision.occurred_at,
    CASE WHEN decision.rank = shown.rank THEN shown."text" END AS final_text
FROM events AS decision LEFT JOIN shown USING (session_id, query_id)
WHERE decision.type IN ('draft_accepted', 'drafts_dismissed')

UNION ALL BY NAME

SELECT
    final.file,
    final.line,
    CASE WHEN final."text" = '' THEN 'rejected' ELSE 'edited' END AS kind,
    format('coauthor-{}', final.event_id) AS event_id,
    final.draft_id,
    final.session_id AS ticket_id,
    final.agent_id,
    final.occurred_at,
    nullif(final."text", '') AS final_text,
    CASE WHEN final."text" = '' THEN ['deleted'] END AS reasons
FROM events AS final JOIN shown USING (draft_id)
WHERE final.type = 'draft_final' AND final."text" <> shown."text"
