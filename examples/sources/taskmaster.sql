-- description: Taskmaster TM-3/TM-4 reward files (Google, CC BY 4.0): an agent turn a line, and one thumb for it
-- arrival_date: 2022-08-04
--
-- The source has no clock. All lines arrive on the day above (about when the first file was collected), a second a
-- line, so that time follows the file's order; nothing may be read into the seconds.
--
-- A line is a draft and the reaction to it: two events. An agent turn is text or an API call; calls and their answers
-- become text, so that a model can read and write them. The thumbs are noisy, and the domain alone predicts them
-- (16 % up for movie tickets, 86 % for coffee orders): report by `category`.

WITH parsed AS (
    SELECT
        file,
        line,
        arrival_date + to_seconds(line) AS occurred_at,
        from_json(row, '{
            "row_id": "VARCHAR", "session": "VARCHAR", "kind": "VARCHAR", "thumb": "INTEGER",
            "context": [{"role": "VARCHAR", "text": "VARCHAR", "api": "JSON", "response": "JSON"}],
            "generation": {"text": "VARCHAR", "api": "JSON"}
        }') AS event
    FROM lines
),
drafts AS (
    SELECT
        file,
        line,
        occurred_at,
        event.row_id AS draft_id,
        event.session AS ticket_id,
        -- Sessions are numbered within their domain: movie_tickets-0-12, coffee_order-3-7.
        split_part(event.session, '-', 1) AS category,
        event.thumb AS thumb,
        -- Most chat templates know two speakers: what the API answers is told to the agent as the user's words are.
        list_transform(event.context, lambda turn: {
            'role': CASE turn.role WHEN 'agent' THEN 'assistant' ELSE 'user' END,
            'content': coalesce(turn."text", 'CALL ' || turn.api::VARCHAR, 'RESULT ' || turn.response::VARCHAR)
        }) AS prompt,
        coalesce(event.generation."text", 'CALL ' || event.generation.api::VARCHAR) AS completion,
        {'kind': event.kind} AS extra
    FROM parsed
)

SELECT
    file, line, occurred_at, ticket_id, draft_id, category,
    'draft_shown' AS kind,
    draft_id || '-shown' AS event_id,
    prompt,
    completion,
    extra
FROM drafts

UNION ALL BY NAME

SELECT
    file, line, occurred_at, ticket_id, draft_id, category,
    CASE thumb WHEN 1 THEN 'thumbs_up' WHEN 0 THEN 'thumbs_down' END AS kind,
    draft_id || '-thumb' AS event_id
FROM drafts
