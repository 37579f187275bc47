-- description: logs already in the event form: an object a line, its keys named like the event columns
--
-- The one to start your own from. Values are returned as JSON, as they are: the event schema says what each must be,
-- and one that does not fit sends its line to the quarantine with the reason. In CSV files an empty field is null, and
-- prompt, reasons and extra hold JSON text.

WITH parsed AS (
    SELECT
        file,
        line,
        -- One pass over the text for all columns; a `row -> 'kind'` for each would parse it once a column.
        from_json(row, '{
            "event_id": "JSON", "kind": "JSON", "occurred_at": "JSON", "received_at": "JSON", "ticket_id": "JSON",
            "draft_id": "JSON", "agent_id": "JSON", "prompt": "JSON", "completion": "JSON", "final_text": "JSON",
            "reasons": "JSON", "score": "JSON", "category": "JSON", "model_version": "JSON", "source": "JSON", "extra": "JSON"
        }') AS event,
        -- The keys that no column is for: patching a key with null takes it out.
        json_merge_patch(row, '{
            "event_id": null, "kind": null, "occurred_at": null, "received_at": null, "ticket_id": null,
            "draft_id": null, "agent_id": null, "prompt": null, "completion": null, "final_text": null,
            "reasons": null, "score": null, "category": null, "model_version": null, "source": null, "extra": null
        }') AS others
    FROM lines
)
SELECT
    file,
    line,
    event.* EXCLUDE (extra),
    -- Other keys join `extra`, unless it is no object: then it is left for the check to refuse.
    CASE
        WHEN others = '{}' THEN event.extra
        WHEN event.extra IS NULL THEN others
        WHEN json_type(TRY_CAST(event.extra ->> '$' AS JSON)) = 'OBJECT'
            THEN json_merge_patch(TRY_CAST(event.extra ->> '$' AS JSON), others)
        ELSE event.extra
    END AS extra
FROM parsed
