"""Ingestion: raw files of some arrival days into the events, quarantine and files tables.

An event's id is its identity. The delivery that reached the lake first is kept, later ones are counted as duplicates
in their file's books: over the stored days that are not being replaced, then in order of arrival day, file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from feedback.lake import Lake
from feedback.mapping import map_day
from feedback.progress import Report, silent
from feedback.rawfiles import RawFile
from feedback.sources import Source
from feedback.tables import EVENTS, FILES, QUARANTINE


def ingest(
    lake: Lake,
    source: Source,
    files: Sequence[RawFile],
    days: Sequence[date],
    *,
    input_root: Path,
    report: Report = silent,
) -> pa.Table:
    """Map the raw `files` that arrived on `days` and replace those days in the lake.

    Args:
        lake: where the tables are.
        source: the mapping.
        files: the raw files at hand; those of other arrival days are left alone.
        days: the arrival days to replace; a day without files becomes empty.
        input_root: the folder that the files' names are relative to.
        report: told after each arrival day, in files.

    Returns:
        The books: a row a file, in the schema of `FILES`, where
        `lines = mapped + ignored + quarantined` and events mapped = `events` stored + `duplicates`.

    """
    wanted = sorted((file for file in files if file.arrival_date in set(days)), key=lambda f: f.arrival_date)
    mapped, done = [], 0
    for _, of_day in groupby(wanted, key=lambda f: f.arrival_date):
        batch = list(of_day)
        mapped.append(map_day(source, batch, input_root=input_root))
        done += len(batch)
        report("feedback_events", done, len(wanted), "files", lines=sum(_lines(day.books) for day in mapped))
    produced = pa.concat_tables([EVENTS.schema.empty_table(), *(day.events for day in mapped)])
    books = pa.concat_tables([FILES.schema.empty_table(), *(day.books for day in mapped)])
    quarantine = pa.concat_tables([QUARANTINE.schema.empty_table(), *(day.quarantine for day in mapped)])

    events, books = _without_duplicates(lake, produced, books, days)
    lake.replace(QUARANTINE, quarantine, days)
    lake.replace(FILES, books, days)
    lake.replace(EVENTS, events, days)
    return books


def _without_duplicates(
    lake: Lake, produced: pa.Table, books: pa.Table, days: Sequence[date]
) -> tuple[pa.Table, pa.Table]:
    """The events to store, and the books with `events` and `duplicates` filled in."""
    with lake.sql(EVENTS, produced=produced, books=books) as connection:
        connection.execute(
            """
            CREATE TEMP TABLE fresh AS
            SELECT arrival_date, file, position,
                known.event_id IS NULL
                    AND row_number() OVER (PARTITION BY p.event_id ORDER BY arrival_date, file, line, position) = 1
                    AS is_first
            FROM (SELECT event_id, arrival_date, file, line, row_number() OVER () AS position FROM produced) AS p
            LEFT JOIN (
                SELECT DISTINCT event_id FROM events WHERE arrival_date NOT IN (SELECT unnest($days))
            ) AS known USING (event_id)
            """,
            {"days": list(days)},
        )
        keep = connection.sql("SELECT is_first FROM fresh ORDER BY position").to_arrow_table()
        counted = connection.sql(
            """
            SELECT books.* REPLACE (coalesce(n.stored, 0) AS events, coalesce(n.repeated, 0) AS duplicates)
            FROM books LEFT JOIN (
                SELECT arrival_date, file,
                    count(*) FILTER (is_first) AS stored, count(*) FILTER (NOT is_first) AS repeated
                FROM fresh GROUP BY ALL
            ) AS n USING (arrival_date, file)
            ORDER BY arrival_date, file
            """
        ).to_arrow_table()
    return produced.filter(keep.column("is_first")), counted.select(FILES.schema.names).cast(FILES.schema)


def _lines(books: pa.Table) -> int:
    return int(pa.compute.sum(books.column("lines")).as_py() or 0)
