"""Interactions: one row a draft with its prompt, its texts and every signal about it, as of a moment.

A ranking of two texts is two interactions, one for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from feedback.labels.ledger import append_entries, refuse_older
from feedback.lake.delta import Lake
from feedback.lake.event_schema import (
    OTHER_SUFFIX,
    PREFERRED_SUFFIX,
    RANKING_KINDS,
    ROW_KINDS,
    SHOWING_KINDS,
    TICKET_KINDS,
)
from feedback.lake.parallel import in_order
from feedback.lake.parquet_scan import day_batches, spilling, view_stored
from feedback.lake.sql_literals import literal, literals
from feedback.lake.tables import EVENTS, FILES, INTERACTIONS
from label_policy import DRAFT_COLUMN_NAMES, EVENT_KINDS, classify_edits, edit_similarities

# Kinds that are a signal themselves. The two signals of a ranking come with its rows.
_SIGNAL_KINDS = [kind.name for kind in EVENT_KINDS if kind.name in kind.signals]
QUERY: Final = (
    Path(__file__)
    .with_suffix(".sql")
    .read_text(encoding="utf-8")
    .format(
        showing_kinds=literals(SHOWING_KINDS),
        ranking_kinds=literals(RANKING_KINDS),
        ticket_kinds=literals(TICKET_KINDS),
        decision_kinds=literals(kind.name for kind in EVENT_KINDS if kind.decides),
        final_text_kinds=literals(kind.name for kind in EVENT_KINDS if "final_text" in kind.gives),
        survey_score_kinds=literals(kind.name for kind in EVENT_KINDS if "survey_score" in kind.gives),
        signal_times=",\n        ".join(
            f"max(occurred_at) FILTER (kind = {literal(name)}) AS {name}_at" for name in _SIGNAL_KINDS
        ),
        draft_columns=", ".join(f"d.{name}" for name in DRAFT_COLUMN_NAMES),
        ranking_columns=", ".join(f"r.{name}" for name in DRAFT_COLUMN_NAMES),
        preferred_suffix=PREFERRED_SUFFIX,
        other_suffix=OTHER_SUFFIX,
    )
)
"""The one definition of what is evidence of what: interactions.sql, filled in."""
# What every step may look at; what is kept of all the days; and what is asked some days at a time.
_KNOWN, _SHOWN, _SIGNALS, _ROWS = QUERY.split("-- Step\n")
# What bounds the memory of a build: drafts that a query is asked for, rows with their texts at a time, and how many
# such parts may wait while DuckDB works on the next query.
_BATCH_DRAFTS: Final = 250_000
_PART_ROWS: Final = 25_000
_PARTS_WAITING: Final = 8
_FIGURES: Final = ("draft_id", "shown_date", "decided_at", "edit_kind")


def build_interactions(lake: Lake, days: Sequence[date], *, as_of: datetime) -> pa.Table:
    """The interactions whose drafts were shown, or texts ranked, on `days`, from the events received by `as_of`.

    Args:
        lake: holds the events.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime; later events do not count, so a past day can be rebuilt as it was.

    Returns:
        A table in the schema of `INTERACTIONS`, ordered by `shown_at, draft_id`.

    """
    parts = _parts(lake, days, as_of, _versions(lake))
    return pa.concat_tables([INTERACTIONS.schema.empty_table(), *map(_compare_texts, parts)])


def write_interactions(lake: Lake, days: Sequence[date], *, as_of: datetime, run_id: str | None = None) -> pa.Table:
    """Build the interactions of `days`, replace those partitions in one commit and enter that in the ledger.

    What is held in memory does not grow with the number of days.

    Returns:
        `draft_id, shown_date, decided_at, edit_kind` of the rows.

    Raises:
        FeedbackError: some of the days are stored as of a later moment.

    """
    refuse_older(lake, ["interactions"], days, as_of)
    made_from = _versions(lake)
    with lake.replacing(INTERACTIONS, days) as replacement, ThreadPoolExecutor(1) as pool:

        def write(part: pa.Table) -> pa.Table:
            rows = _compare_texts(part)
            replacement.write(rows)
            return rows.select(_FIGURES)

        # Parts are compared and written while DuckDB makes the next ones.
        written = [*in_order(pool, write, _parts(lake, days, as_of, made_from), ahead=_PARTS_WAITING)]
    append_entries(
        lake, stage="interactions", days=days, input_version=made_from[EVENTS.name],
        output_version=replacement.version, policy=None, as_of=as_of, run_id=run_id,
    )  # fmt: skip
    return pa.concat_tables([INTERACTIONS.schema.empty_table().select(_FIGURES), *written])


def _versions(lake: Lake) -> dict[str, int | None]:
    """The versions of the books and of the events that a build reads.

    The books first: what they know to have arrived, the events then hold.
    """
    return {table.name: lake.version(table) for table in (FILES, EVENTS)}


def _parts(lake: Lake, days: Sequence[date], as_of: datetime, versions: Mapping[str, int | None]) -> Iterator[pa.Table]:
    """Yield the query's rows for the days, in order and in parts."""
    with spilling(lake) as connection:
        # The query reads the events several times, each time a few columns: kept once for all, they would fill memory.
        connection.execute("SET disabled_optimizers = 'common_subplan'")
        for table in (FILES, EVENTS):
            view_stored(connection, lake, table, version=versions[table.name])
        [(known_until,)] = connection.execute(_KNOWN_UNTIL, {"as_of": as_of}).fetchall()
        reach = pa.scalar(known_until, INTERACTIONS.schema.field("known_until").type)
        drafts = dict(connection.execute(_DRAFTS).fetchall())
        # What is narrow is made once for all days, and goes to disk where it does not fit.
        for name, step in (("shown", _SHOWN), ("signals", _SIGNALS)) if days else ():
            select = f"{_KNOWN}{step.rstrip().removesuffix(',')} FROM {name}"
            connection.execute(f"CREATE TEMP TABLE {name} AS {select}", {"days": list(days), "as_of": as_of})
        for batch in day_batches(((day, drafts.get(day, 0)) for day in sorted(days)), _BATCH_DRAFTS):
            query = connection.sql(_KNOWN + _ROWS, params={"days": batch, "as_of": as_of})
            for part in query.to_arrow_reader(_PART_ROWS):
                rows = pa.Table.from_batches([part])
                yield rows.append_column("known_until", pa.repeat(reach, rows.num_rows))


# The logs reach to the end of the last whole arrival day, or to the last receipt where a clock ran ahead of it.
_KNOWN_UNTIL = """
SELECT least($as_of, greatest(
    (SELECT CAST(max(arrival_date) + 1 AS TIMESTAMPTZ) FROM files WHERE arrival_date < CAST($as_of AS DATE)),
    (SELECT max(received_at) FROM events WHERE received_at <= $as_of AND arrival_date < CAST($as_of AS DATE))))
"""
_DRAFTS = f"SELECT CAST(occurred_at AS DATE), count(*) FROM events WHERE kind IN ({literals(ROW_KINDS)}) GROUP BY 1"


def _compare_texts(rows: pa.Table) -> pa.Table:
    texts = rows.column("completion"), rows.column("final_text")
    rows = rows.append_column("edit_kind", classify_edits(*texts))
    rows = rows.append_column("edit_similarity", edit_similarities(*texts))
    return rows.select(INTERACTIONS.schema.names).cast(INTERACTIONS.schema)


def count_unplaced(lake: Lake, first_day: date, last_day: date) -> dict[str, int]:
    """Events that no interaction of `first_day` to `last_day` holds, by why, and drafts that more than one holds.

    `drafts_outside`: drafts shown before `first_day` or after `last_day`. `drafts_twice`: drafts with interactions on
    two days (shown again, and the first showing arrived later). `reactions_without_draft`: draft-level events whose
    draft was never logged. `outcomes_without_draft`: ticket outcomes before the ticket's first draft, or of a ticket
    without one.
    """
    with lake.sql(EVENTS, INTERACTIONS) as connection:
        [row] = connection.execute(
            f"""
            WITH drafts AS (
                SELECT draft_id, ticket_id, occurred_at FROM events WHERE kind IN ({literals(SHOWING_KINDS)})
            ),
            tickets AS (SELECT ticket_id, min(occurred_at) AS first_shown FROM drafts GROUP BY ticket_id)
            SELECT
                (SELECT count(*) FROM drafts WHERE CAST(occurred_at AS DATE) NOT BETWEEN $first AND $last),
                (SELECT count(*) - count(DISTINCT draft_id) FROM interactions),
                (SELECT count(*) FROM events WHERE kind NOT IN ({literals(ROW_KINDS)})
                    AND draft_id IS NOT NULL AND draft_id NOT IN (SELECT draft_id FROM drafts)),
                (SELECT count(*) FROM events AS e LEFT JOIN tickets AS t USING (ticket_id)
                    WHERE e.kind IN ({literals(TICKET_KINDS)})
                        AND (t.first_shown IS NULL OR e.occurred_at < t.first_shown))
            """,
            {"first": first_day, "last": last_day},
        ).fetchall()
    names = ("drafts_outside", "drafts_twice", "reactions_without_draft", "outcomes_without_draft")
    return dict(zip(names, row, strict=True))
