"""Interactions: one row a draft with its prompt, its texts and every signal about it, as of a moment.

A ranking of two texts is two interactions, one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa

from feedback.lake import Lake
from feedback.ledger import record, refuse_older
from feedback.tables import EVENTS, INTERACTIONS
from label_policy import classify_edits, edit_similarities

_SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


def build_interactions(lake: Lake, days: Sequence[date], *, as_of: datetime) -> pa.Table:
    """The interactions whose drafts were shown, or texts ranked, on `days`, from the events received by `as_of`.

    Args:
        lake: holds the events.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime; later events do not count, so a past day can be rebuilt as it was.

    Returns:
        A table in the schema of `INTERACTIONS`, ordered by `shown_at, draft_id`.

    """
    with lake.sql(EVENTS) as connection:
        rows = connection.sql(_SQL, params={"days": list(days), "as_of": as_of}).to_arrow_table()
    texts = rows.column("completion"), rows.column("final_text")
    rows = rows.append_column("edit_kind", classify_edits(*texts))
    rows = rows.append_column("edit_similarity", edit_similarities(*texts))
    return rows.select(INTERACTIONS.schema.names).cast(INTERACTIONS.schema)


def write_interactions(lake: Lake, days: Sequence[date], *, as_of: datetime, run_id: str | None = None) -> pa.Table:
    """Build the interactions of `days`, replace those partitions in one commit and enter that in the ledger.

    Returns:
        The rows. Raises FeedbackError where some of the days are stored as of a later moment.

    """
    refuse_older(lake, ["interactions"], days, as_of)
    made_from = lake.version(EVENTS)
    rows = build_interactions(lake, days, as_of=as_of)
    version = lake.replace(INTERACTIONS, rows, days)
    record(
        lake, stage="interactions", days=days, input_version=made_from, output_version=version,
        policy=None, as_of=as_of, run_id=run_id,
    )  # fmt: skip
    return rows


def count_unplaced(lake: Lake, first_day: date, last_day: date) -> dict[str, int]:
    """Events that no interaction of `first_day` to `last_day` holds, by why, and drafts that more than one holds.

    `drafts_outside`: drafts shown before `first_day` or after `last_day`. `drafts_twice`: drafts with interactions on
    two days (shown again, and the first showing arrived later). `reactions_without_draft`: draft-level events whose
    draft was never logged. `outcomes_without_draft`: ticket outcomes before the ticket's first draft, or of a ticket
    without one.
    """
    with lake.sql(EVENTS, INTERACTIONS) as connection:
        [row] = connection.execute(
            """
            WITH drafts AS (
                SELECT draft_id, ticket_id, occurred_at FROM events WHERE kind = 'draft_shown'
            ),
            tickets AS (SELECT ticket_id, min(occurred_at) AS first_shown FROM drafts GROUP BY ticket_id)
            SELECT
                (SELECT count(*) FROM drafts WHERE CAST(occurred_at AS DATE) NOT BETWEEN $first AND $last),
                (SELECT count(*) - count(DISTINCT draft_id) FROM interactions),
                (SELECT count(*) FROM events WHERE kind NOT IN ('draft_shown', 'preference') AND draft_id IS NOT NULL
                    AND draft_id NOT IN (SELECT draft_id FROM drafts)),
                (SELECT count(*) FROM events AS e LEFT JOIN tickets AS t USING (ticket_id)
                    WHERE e.kind IN ('resolved', 'unresolved', 'reopened', 'escalated', 'surveyed', 'repeat_contact')
                        AND (t.first_shown IS NULL OR e.occurred_at < t.first_shown))
            """,
            {"first": first_day, "last": last_day},
        ).fetchall()
    names = ("drafts_outside", "drafts_twice", "reactions_without_draft", "outcomes_without_draft")
    return dict(zip(names, row, strict=True))
