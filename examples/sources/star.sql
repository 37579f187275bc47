-- description: STAR (RasaHQ, MIT): support agents who pick one of the replies an assistant suggests, or write their own
--
-- Lines that matter: `drafts_shown` (up to six options), `draft_accepted` (the option taken, under the event_id of the
-- showing), and what was said: `customer_message`, `draft_accepted`, `agent_custom_reply`.
--
-- What the model must not see: `agent_typed` (the suggester ranked the options by it) and an option's rank (the first
-- is taken in nine cases of ten). Neither is in prompt, completion or extra; the draft's id ends in the option's
-- number, because an id has to end in something.
--
-- A dialogue that crosses midnight is cut: the conversation so far is what the arrival day's file holds of it.

WITH parsed AS (
    SELECT
        file,
        line,
        from_json(row, '{
            "event_id": "BIGINT", "dialogue_id": "BIGINT", "idx": "BIGINT", "ts": "BIGINT", "type": "VARCHAR",
            "agent_id": "VARCHAR", "text": "VARCHAR", "slotfree": "BOOLEAN", "extra": "JSON",
            "options": [{"text": "VARCHAR"}]
        }') AS event
    FROM lines
),
turns AS (
    SELECT
        file,
        line,
        event.* EXCLUDE (extra),
        CASE
            WHEN event.type = 'customer_message' THEN 'user'
            WHEN event.type IN ('draft_accepted', 'agent_custom_reply') THEN 'assistant'
        END AS role,
        -- What the dialogue is about: the task the agent picks, or the service the agent asks, such as bank_balance.
        CASE event.type
            WHEN 'select_task' THEN event.extra ->> '$'
            WHEN 'kb_query' THEN event.extra ->> 'APIName'
        END AS task
    FROM parsed
),
conversations AS (
    SELECT
        dialogue_id,
        list({'role': role, 'content': "text"} ORDER BY idx, line) FILTER (role IS NOT NULL) AS messages,
        first(task ORDER BY idx, line) FILTER (task IS NOT NULL) AS first_task
    FROM turns
    GROUP BY dialogue_id
),
placed AS (  -- how many messages came before each turn, and the task so far
    SELECT
        *,
        count(role) OVER so_far AS messages_before,
        last_value(task IGNORE NULLS) OVER so_far AS last_task
    FROM turns
    WINDOW so_far AS (PARTITION BY dialogue_id ORDER BY idx, line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
),
options AS (  -- a row an option; without a list of options one row of nulls, which no draft can be: quarantined
    SELECT
        placed.* EXCLUDE ("text", options),
        options IS NOT NULL AS is_listed,
        unnest(coalesce(options, [NULL]))."text" AS "text",
        generate_subscripts(coalesce(options, [NULL]), 1) AS number
    FROM placed
    WHERE type = 'drafts_shown'
),
decided AS (  -- each option with the reply that was taken; of two options that read the same, the first was
    SELECT
        taken.*,
        options."text" AS draft,
        number,
        draft = taken."text" AND row_number() OVER (PARTITION BY taken.event_id, draft ORDER BY number) = 1 AS is_taken
    FROM turns AS taken
    LEFT JOIN options ON taken.event_id = options.event_id AND options."text" <> ''  -- no option: null ids, quarantined
    WHERE taken.type = 'draft_accepted'
)

SELECT
    file,
    line,
    CASE WHEN is_listed AND coalesce("text", '') = '' THEN 'ignored' ELSE 'draft_shown' END AS kind,
    'option without text' AS reason,
    format('star-{}-{}-shown', event_id, number) AS event_id,
    format('star-{}-{}', event_id, number) AS draft_id,
    dialogue_id AS ticket_id,
    agent_id,
    to_timestamp(ts) AS occurred_at,
    coalesce(messages[1:messages_before], []) AS prompt,
    "text" AS completion,
    NULL AS final_text,
    coalesce(last_task, first_task) AS category,
    -- Only in choice sets without slots (names, amounts) do the options differ in what they say: elsewhere the one
    -- that carries the conversation's own values gives itself away.
    {'slotfree': slotfree} AS extra
FROM options LEFT JOIN conversations USING (dialogue_id)

UNION ALL BY NAME

SELECT
    file,
    line,
    CASE WHEN is_taken THEN 'accepted' ELSE 'dismissed' END AS kind,
    format('star-{}-{}-decided', event_id, number) AS event_id,
    format('star-{}-{}', event_id, number) AS draft_id,
    dialogue_id AS ticket_id,
    agent_id,
    to_timestamp(ts) AS occurred_at,
    CASE WHEN is_taken THEN draft END AS final_text
FROM decided
