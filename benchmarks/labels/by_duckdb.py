"""Raw logs to labels by hand in DuckDB: read, deduplicate, aggregate, label, write Parquet by day.

It skips broken lines without a report, and keeps no events.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from label_policy import Policy, classify_edits, compile_policy, edit_similarities

_READ = """
CREATE TABLE events AS
SELECT * FROM read_json(
    $files, format = 'newline_delimited', ignore_errors = true,
    columns = {
        event_id: 'VARCHAR', kind: 'VARCHAR', occurred_at: 'TIMESTAMPTZ', received_at: 'TIMESTAMPTZ',
        ticket_id: 'VARCHAR', draft_id: 'VARCHAR', agent_id: 'VARCHAR',
        prompt: 'STRUCT("role" VARCHAR, "content" VARCHAR)[]', completion: 'VARCHAR', final_text: 'VARCHAR',
        reasons: 'VARCHAR[]', score: 'DOUBLE', category: 'VARCHAR', model_version: 'VARCHAR'
    })
WHERE event_id IS NOT NULL
"""
_DEDUPLICATE = """
CREATE TABLE signals_once AS
SELECT * EXCLUDE (prompt, completion, category, model_version) FROM events
QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY received_at) = 1;
CREATE TABLE drafts AS
SELECT draft_id, ticket_id, occurred_at FROM signals_once WHERE kind = 'draft_shown';
"""
_SIGNALS = """
CREATE TABLE signals AS
WITH last_shown AS (
    SELECT ticket_id, max(occurred_at) AS occurred_at, arg_max(event_id, occurred_at) AS event_id
    FROM signals_once WHERE kind = 'draft_shown' GROUP BY ticket_id
),
of_drafts AS (
    SELECT draft_id, event_id, kind, occurred_at, agent_id, final_text, reasons, score
    FROM signals_once WHERE draft_id IS NOT NULL
    UNION ALL
    SELECT d.draft_id, e.event_id, e.kind, e.occurred_at, e.agent_id, NULL, e.reasons, e.score
    FROM signals_once AS e JOIN drafts AS d ON d.ticket_id = e.ticket_id AND e.occurred_at >= d.occurred_at
    WHERE e.draft_id IS NULL
    UNION ALL
    SELECT d.draft_id, l.event_id, 'repeat_contact', l.occurred_at, NULL, NULL, NULL, NULL
    FROM drafts AS d JOIN last_shown AS l ON l.ticket_id = d.ticket_id AND l.occurred_at > d.occurred_at
)
SELECT
    draft_id,
    min(occurred_at) FILTER (kind IN ('accepted', 'edited', 'rejected', 'dismissed', 'copied')) AS decided_at,
    {times},
    arg_max(score, occurred_at) FILTER (kind = 'surveyed') AS survey_score,
    arg_max(final_text, occurred_at) FILTER (final_text IS NOT NULL) AS sent,
    arg_min(agent_id, occurred_at) FILTER (agent_id IS NOT NULL) AS agent_id,
    coalesce(list_sort(list_distinct(flatten(list(reasons) FILTER (reasons IS NOT NULL)))), []) AS reasons,
    list(event_id ORDER BY occurred_at, event_id) AS evidence
FROM of_drafts GROUP BY draft_id
"""
_KINDS = (
    "accepted", "edited", "rejected", "dismissed", "copied", "thumbs_up", "thumbs_down", "approved", "flagged",
    "resolved", "unresolved", "reopened", "escalated", "surveyed", "repeat_contact",
)  # fmt: skip
_EDITS = """
SELECT DISTINCT s.draft_id, e.completion, s.sent FROM signals AS s JOIN events AS e USING (draft_id)
WHERE e.kind = 'draft_shown' AND s.sent IS NOT NULL
"""
_INTERACTIONS = """
CREATE VIEW interactions AS
SELECT
    e.draft_id, e.ticket_id, s.agent_id, 'canonical' AS source, e.category, e.model_version, e.occurred_at AS shown_at,
    CAST(e.occurred_at AS DATE) AS shown_date, e.prompt, e.completion,
    coalesce(s.sent, CASE WHEN s.accepted_at IS NOT NULL AND s.edited_at IS NULL THEN e.completion END) AS final_text,
    s.* EXCLUDE (draft_id, agent_id, sent),
    CAST(NULL AS TIMESTAMPTZ) AS preferred_at, CAST(NULL AS TIMESTAMPTZ) AS not_preferred_at,
    coalesce(x.edit_kind, CASE WHEN s.accepted_at IS NOT NULL AND s.edited_at IS NULL THEN 'none' END) AS edit_kind,
    coalesce(x.similarity, CASE WHEN s.accepted_at IS NOT NULL AND s.edited_at IS NULL THEN 1.0 END) AS edit_similarity,
    epoch_us(s.decided_at - e.occurred_at) / 1e6 AS seconds_to_decision
FROM (
    SELECT * FROM events WHERE kind = 'draft_shown'
    QUALIFY row_number() OVER (PARTITION BY event_id ORDER BY received_at) = 1
) AS e
JOIN signals AS s USING (draft_id)
LEFT JOIN edits AS x USING (draft_id)
"""
_WRITE = """
COPY (
    SELECT draft_id, ticket_id, agent_id, source, category, model_version, shown_at, shown_date, prompt, completion,
        final_text, label, tier, weight, rule,
        CASE WHEN matures_at <= CAST($as_of AS TIMESTAMPTZ) THEN 'final' ELSE 'provisional' END AS state, matures_at,
        $name AS policy, $version AS policy_version, $digest AS policy_digest, evidence,
        CAST($as_of AS TIMESTAMPTZ) AS as_of
    FROM ({labelled})
) TO '{out}' (FORMAT parquet, PARTITION_BY (shown_date))
"""


def run(raw: Path, out: Path, policy: Policy, as_of: datetime) -> None:
    """Label the logs under `raw` and write the labels under `out`."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(_READ, {"files": str(raw / "*.jsonl.gz")})
        connection.execute(_DEDUPLICATE)
        times = ", ".join(f"max(occurred_at) FILTER (kind = '{kind}') AS {kind}_at" for kind in _KINDS)
        connection.execute(_SIGNALS.format(times=times))
        edits = connection.sql(_EDITS).to_arrow_table()
        texts = edits.column("completion"), edits.column("sent")
        kinds, similarities = classify_edits(*texts), edit_similarities(*texts)
        connection.register(
            "edits",
            pa.table({"draft_id": edits.column("draft_id"), "edit_kind": kinds, "similarity": similarities}),
        )
        connection.execute(_INTERACTIONS)
        connection.execute(
            _WRITE.format(labelled=compile_policy(policy), out=out),
            {"as_of": as_of, "name": policy.name, "version": policy.version, "digest": policy.digest},
        )
