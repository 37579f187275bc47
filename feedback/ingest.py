"""Ingestion: raw files of some arrival days into the events, quarantine and files tables.

An event's id is its identity. The delivery that reached the lake first is kept, later ones are counted as duplicates
in their file's books: over what is stored and not being replaced, then in order of arrival day, file and line.

Raw logs are rotated away, and the lake outlives them: a file that the books know and that is no longer at hand keeps
its rows, whichever of its day's files are read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feedback.exceptions import FeedbackError
from feedback.lake import Lake, Table
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
        days: the arrival days to replace.
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

    _refuse_to_empty(lake, source, books, quarantine, wanted)
    kept = {table.name: _of_files_gone(lake, table, wanted, days) for table in (EVENTS, QUARANTINE, FILES)}
    events, books = _without_duplicates(lake, produced, books, kept["events"], days)
    for table, rows in ((QUARANTINE, quarantine), (FILES, books), (EVENTS, events)):
        lake.replace(table, pa.concat_tables([kept[table.name], rows]), days)
    return books


def _refuse_to_empty(
    lake: Lake, source: Source, books: pa.Table, quarantine: pa.Table, files: Sequence[RawFile]
) -> None:
    """Stop where nothing maps any more on days that gave events before: then the mapping is at fault, not the lines."""
    if pc.sum(books.column("mapped")).as_py() or not quarantine.num_rows:
        return
    with lake.sql(EVENTS) as connection:
        [(stored,)] = connection.execute(
            "SELECT count(*) FROM events WHERE arrival_date IN (SELECT unnest(?))",
            [[file.arrival_date for file in files]],
        ).fetchall()
    if stored:
        first = quarantine.slice(0, 1).to_pylist()[0]
        raise FeedbackError(
            f"no line maps any more, on days that gave {stored} events before ({first['file']} line {first['line']}: "
            f"{first['reason']}); mend the mapping {source.path} with `feedback-kto source check`"
        )


def unbalanced_files(lake: Lake) -> list[str]:
    """The files whose books do not balance, or whose events or quarantined lines are not as many as the books say.

    The three tables are replaced one after the other: what an interruption between them leaves is found here.
    """
    with lake.sql(EVENTS, FILES, QUARANTINE) as connection:
        rows = connection.execute(
            """
            WITH stored AS (SELECT arrival_date, file, count(*) AS n FROM events GROUP BY ALL),
            -- A row without a line is about the whole file.
            refused AS (SELECT arrival_date, file, count(line) AS n FROM quarantine GROUP BY ALL)
            SELECT coalesce(f.file, s.file, q.file) AS name
            FROM files AS f
            FULL JOIN stored AS s ON s.arrival_date = f.arrival_date AND s.file = f.file
            FULL JOIN refused AS q ON q.arrival_date = f.arrival_date AND q.file = f.file
            WHERE f.file IS NULL OR f.lines <> f.mapped + f.ignored + f.quarantined
                OR least(f.mapped, f.ignored, f.quarantined) < 0
                OR f.events <> coalesce(s.n, 0) OR f.quarantined <> coalesce(q.n, 0)
            ORDER BY name
            """
        ).fetchall()
    return [name for (name,) in rows]


def _of_files_gone(lake: Lake, table: Table, at_hand: Sequence[RawFile], days: Sequence[date]) -> pa.Table:
    """The rows that `table` has on `days` of files that are not at hand."""
    with lake.sql(table) as connection:
        return (
            connection.sql(
                f"""
            SELECT * FROM {table.name}
            WHERE arrival_date IN (SELECT unnest($days))
                AND (arrival_date, file) NOT IN (SELECT unnest($days_at_hand), unnest($files_at_hand))
            """,
                params={
                    "days": list(days),
                    "days_at_hand": [file.arrival_date for file in at_hand],
                    "files_at_hand": [file.name for file in at_hand],
                },
            )
            .to_arrow_table()
            .cast(table.schema)
        )


def _without_duplicates(
    lake: Lake, produced: pa.Table, books: pa.Table, kept: pa.Table, days: Sequence[date]
) -> tuple[pa.Table, pa.Table]:
    """The events to store, and the books with `events` and `duplicates` filled in."""
    with lake.sql(EVENTS, produced=produced, books=books, kept=kept) as connection:
        connection.execute(
            """
            CREATE TEMP TABLE fresh AS
            SELECT arrival_date, file, position,
                known.event_id IS NULL
                    AND row_number() OVER (PARTITION BY p.event_id ORDER BY arrival_date, file, line, position) = 1
                    AS is_first
            FROM (SELECT event_id, arrival_date, file, line, row_number() OVER () AS position FROM produced) AS p
            LEFT JOIN (
                SELECT event_id FROM events WHERE arrival_date NOT IN (SELECT unnest($days))
                UNION SELECT event_id FROM kept
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
    return int(pc.sum(books.column("lines")).as_py() or 0)
