"""Touched days: days that later feedback, or time alone, makes stale.

No state is kept between runs: a day is touched as long as its stored rows were not built from the current events,
whatever happened to earlier runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

import duckdb

from feedback.labels.interactions import QUERY
from feedback.lake.delta import Lake
from feedback.lake.event_schema import ROW_KINDS
from feedback.lake.parquet_scan import day_batches, spilling, view_stored
from feedback.lake.sql_literals import literals
from feedback.lake.tables import EVENTS, FILES, INTERACTIONS, LABELS
from label_policy import SENT_TEXT

_BATCH_DRAFTS: Final = 1_000_000


def touched_days(lake: Lake, *, as_of: datetime) -> list[date]:
    """Return the days whose interactions, built now, would have other evidence than the stored ones or their labels.

    A day with drafts and no stored rows is touched, and so is a day with a stored draft that no event shows any more. A
    day that was built as of an earlier moment is not touched if no event about it has arrived since.

    Evidence is compared by a checksum a day (a sum of 64-bit hashes over its drafts), never draft by draft.

    Args:
        lake: holds the events, interactions and labels.
        as_of: aware datetime; decides which events count, as in `write_interactions`.

    Returns:
        UTC dates on which the drafts were shown, in order; also dates that are no partition.

    """
    with spilling(lake) as connection:
        for table in (EVENTS, INTERACTIONS, LABELS):
            view_stored(connection, lake, table)
        connection.execute("CREATE TEMP TABLE checksums (stage VARCHAR, shown_date DATE, checksum HUGEINT)")
        # DuckDB computes only the columns that are read.
        for days in _batches(connection, as_of):
            connection.execute(_CHECKSUMS.format(stage="built", rows=QUERY), {"days": days, "as_of": as_of})
        connection.execute(_CHECKSUMS.format(stage="stored", rows="FROM interactions"))
        # A text that an agent sent instead of a draft is a row beside the draft's.
        connection.execute(_CHECKSUMS.format(stage="labelled", rows=f"FROM labels WHERE rule <> '{SENT_TEXT}'"))
        rows = connection.execute(
            """
            SELECT shown_date FROM checksums GROUP BY shown_date
            HAVING count(*) < 3 OR count(DISTINCT checksum) > 1 ORDER BY shown_date
            """
        ).fetchall()
    return [day for (day,) in rows]


_CHECKSUMS = """
INSERT INTO checksums SELECT '{stage}', shown_date, sum(hash(draft_id, evidence)) FROM ({rows}) GROUP BY shown_date
"""


def _batches(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> Iterator[list[date]]:
    drafts = connection.execute(
        f"""
        SELECT CAST(occurred_at AS DATE) AS day, count(*) FROM events
        WHERE kind IN ({literals(ROW_KINDS)}) AND received_at <= $as_of AND arrival_date < CAST($as_of AS DATE)
        GROUP BY day ORDER BY day
        """,
        {"as_of": as_of},
    ).fetchall()
    return day_batches(drafts, _BATCH_DRAFTS)


def matured_days(lake: Lake, *, as_of: datetime) -> list[date]:
    """Return the days with provisional labels that are due, as of `as_of` and the logs that have arrived."""
    with lake.sql(FILES) as connection:
        [(until,)] = connection.execute(
            "SELECT CAST(max(arrival_date) + 1 AS TIMESTAMPTZ) FROM files WHERE arrival_date < CAST(? AS DATE)", [as_of]
        ).fetchall()
    return due_days(lake, until) if until else []


def due_days(lake: Lake, moment: datetime) -> list[date]:
    """Return the days with provisional labels that are final by `moment`, if the logs reach that far."""
    with lake.sql(LABELS) as connection:
        rows = connection.execute(
            "SELECT DISTINCT shown_date FROM labels WHERE state = 'provisional' AND matures_at <= ? ORDER BY 1",
            [moment],
        ).fetchall()
    return [day for (day,) in rows]
