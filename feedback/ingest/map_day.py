"""Map one arrival day with a source's SELECT: events, quarantine, and the books that account for every line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from feedback.exceptions import FeedbackError, SourceError
from feedback.ingest.bind import bind, show_lines
from feedback.ingest.event_checks import checked_select
from feedback.ingest.failing_lines import NOT_THE_DATA, quarantine_failing_lines
from feedback.ingest.fast_path import Shortcut
from feedback.ingest.load import day_connection, load_day
from feedback.lake.event_schema import EVENT_SCHEMA, FILES_SCHEMA, IGNORED, QUARANTINE_SCHEMA
from feedback.progress import Report, silent
from feedback.sources.json_lines import LINE_LIMIT
from feedback.sources.line_streams import HEAD, FileRead
from feedback.sources.raw_files import RawFile
from feedback.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class MappedDay:
    """The result of one arrival day's files."""

    events: pa.Table
    """In EVENT_SCHEMA, by file, line and event id. An event id can occur more than once."""
    quarantine: pa.Table
    """In QUARANTINE_SCHEMA, by file and line."""
    books: pa.Table
    """In FILES_SCHEMA, a row a file; ingestion counts `duplicates` later."""


def map_day(
    source: Source,
    files: Sequence[RawFile],
    *,
    input_root: Path,
    report: Report = silent,
    line_limit: int = LINE_LIMIT,
) -> MappedDay:
    """Map the raw files of one arrival day with a new mapper: see `DayMapper.map`."""
    with day_mapper(source) as mapper:
        return mapper.map(files, input_root=input_root, report=report, line_limit=line_limit)


def check_mapping(source: Source) -> None:
    """Bind a source's SELECT without reading any log, so that a mistake is reported before the work starts.

    Raises:
        SourceError: the mapping does not bind or returns columns that events do not have.
    """
    with day_mapper(source) as mapper:
        checked_select(source, mapper.columns, date(2000, 1, 1))


@contextmanager
def day_mapper(source: Source) -> Iterator[DayMapper]:
    """Yield a mapper of a source's days, for one thread at a time.

    Raises:
        SourceError: the mapping does not bind or returns columns that events do not have.
    """
    with day_connection() as connection:
        yield DayMapper(connection, source)


class DayMapper:
    """A source's SELECT in its own DuckDB; it maps one arrival day after the other."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: Source) -> None:
        self._connection = connection
        self._source = source
        self.columns = bind(connection, source)
        """The mapping's columns: name to DuckDB type."""

    def map(
        self,
        files: Sequence[RawFile],
        *,
        input_root: Path,
        report: Report = silent,
        line_limit: int = LINE_LIMIT,
    ) -> MappedDay:
        """Map the raw files of one arrival day.

        A line is quarantined with all its events if it does not parse, if the mapping's SQL fails on it, or if one of
        its events breaks a check. The other lines continue.

        Args:
            files: all files of one arrival day: a mapping may look at neighbouring lines.
            input_root: the folder that the files' names are relative to, for messages.
            report: called after each file.
            line_limit: bytes beyond which a line is quarantined unread.

        Raises:
            SourceError: the mapping fails for a reason other than a line, or returns lines that do not exist.
            FeedbackError: the files are not of one arrival day, or the day is too large for this machine.
        """
        days = {file.arrival_date for file in files}
        if len(days) != 1:
            raise FeedbackError(f"map_day takes the files of one arrival day, not of {len(days)}: call it day by day.")
        (day,) = days
        connection, source = self._connection, self._source
        try:
            shortcut = Shortcut(connection, source, day)
            reads = load_day(connection, files, line_limit=line_limit, report=report, take=shortcut.take)
            kept = pa.concat_tables([*shortcut.events, *self._mapped_by_source(day, needed=not shortcut.events)])
            connection.register("kept", kept)
            mapped = MappedDay(
                events=_events(kept, day),
                quarantine=_quarantine(connection, source, day, reads),
                books=_books(connection, source, day, reads),
            )
            connection.unregister("kept")
        except duckdb.OutOfMemoryException as error:
            raise FeedbackError(
                f"The logs that arrived on {day} under {input_root} do not fit this machine's memory: split the "
                "day's files over several folders, or use a larger machine."
            ) from error
        return mapped

    def _mapped_by_source(self, day: date, *, needed: bool) -> list[pa.Table]:
        """Return `_kept` of the mapping's rows on `day_lines`; no table if no line is left and none is `needed`."""
        connection = self._connection
        [(left,)] = connection.execute("SELECT count(*) FROM day_lines WHERE fault IS NULL").fetchall()
        return [self._kept(self._mapped(day))] if left or needed else []

    def _mapped(self, day: date) -> pa.Table:
        """Return the mapping's checked rows: `file`, `line`, the event columns, `reason` and `fault`."""
        connection, source = self._connection, self._source
        show_lines(connection, day)
        select = checked_select(source, self.columns, day)
        while True:
            try:
                return connection.sql(select).to_arrow_table()
            except NOT_THE_DATA:
                raise
            except duckdb.Error:
                # Without the failing lines, their neighbours can map in another way and fail too: so repeat.
                if quarantine_failing_lines(connection, source, day, self.columns) == 0:
                    raise  # the fault is in our own SQL, not in the mapping

    def _kept(self, rows: pa.Table) -> pa.Table:
        """Return the rows of lines without a fault; set `fault` on the other lines."""
        connection = self._connection
        connection.register("checked", rows)
        stray = connection.execute(
            """
            SELECT file, line FROM checked
            ANTI JOIN (SELECT file, line FROM day_lines WHERE fault IS NULL) USING (file, line) LIMIT 1
            """
        ).fetchall()
        if stray:
            raise SourceError(
                f"Source {self._source.path} returns file {stray[0][0]!r}, line {stray[0][1]}, which is not in lines: "
                "return each event with the file and line of the row that it comes from."
            )
        if rows.column("fault").null_count < rows.num_rows:
            connection.execute(
                """
                UPDATE day_lines SET fault = wrong.fault
                FROM (SELECT file, line, min(fault) AS fault FROM checked WHERE fault IS NOT NULL GROUP BY ALL) AS wrong
                WHERE day_lines.file = wrong.file AND day_lines.line = wrong.line
                """
            )
            rows = connection.sql(
                """
                FROM checked
                ANTI JOIN (SELECT file, line FROM day_lines WHERE fault IS NOT NULL) USING (file, line)
                """
            ).to_arrow_table()
        connection.unregister("checked")
        return rows


def _events(kept: pa.Table, day: date) -> pa.Table:
    """Return the events among the mapping's rows, by file, line, event id and kind."""
    kinds = kept.column("kind")
    if pc.any(pc.equal(kinds, IGNORED)).as_py():
        kept = kept.filter(pc.not_equal(kinds, IGNORED))
    order = ["file", "line", "event_id", "kind"]
    if not _in_order(kept.select(order[:2])):
        kept = kept.take(pc.sort_indices(kept.select(order), [(name, "ascending") for name in order]))
    arrival = pa.array([day], pa.date32())
    events = kept.append_column("arrival_date", pa.repeat(arrival[0], kept.num_rows))
    return events.select(EVENT_SCHEMA.names).cast(EVENT_SCHEMA)


def _in_order(keys: pa.Table) -> bool:
    """Return whether file and line grow from row to row; a mapping that does not sort returns them so."""
    if keys.num_rows < 2:
        return True
    file, line = (column.combine_chunks() for column in keys.columns)
    count = len(line) - 1
    later_file = pc.greater(file.slice(1), file.slice(0, count))
    same_file = pc.equal(file.slice(1), file.slice(0, count))
    later_line = pc.greater(line.slice(1), line.slice(0, count))
    return bool(pc.all(pc.or_(later_file, pc.and_(same_file, later_line))).as_py())


def _quarantine(
    connection: duckdb.DuckDBPyConnection, source: Source, day: date, reads: Sequence[FileRead]
) -> pa.Table:
    rows = [
        {
            "file": read.file.name,
            "line": fault.line,
            "reason": fault.reason,
            "bytes": fault.head,
            "size": fault.size,
            "sha256": fault.sha256,
            "arrival_date": day,
            "source": source.name,
        }
        for read in reads
        for fault in read.faults
    ]
    # A line stored as text or as JSON has the same text: DuckDB does not rewrite the JSON that it parsed.
    lines = connection.sql(
        f"""
        SELECT file, line, fault AS reason, encode(whole)[1:{HEAD}] AS bytes, strlen(whole) AS size,
            sha256(whole) AS sha256, DATE '{day}' AS arrival_date, $source AS source
        FROM (SELECT *, coalesce(text, row::VARCHAR) AS whole FROM day_lines WHERE fault IS NOT NULL)
        """,
        params={"source": source.name},
    ).to_arrow_table()
    both = [pa.Table.from_pylist(rows, QUARANTINE_SCHEMA), lines.cast(QUARANTINE_SCHEMA)]
    return pa.concat_tables(both).sort_by([("file", "ascending"), ("line", "ascending")])


def _books(connection: duckdb.DuckDBPyConnection, source: Source, day: date, reads: Sequence[FileRead]) -> pa.Table:
    counts = connection.execute(
        f"SELECT file, count(*), count(DISTINCT line) FROM kept WHERE kind <> '{IGNORED}' GROUP BY file"
    ).fetchall()
    events = {file: count for file, count, _ in counts}
    mapped = {file: lines for file, _, lines in counts}
    faults = dict(connection.execute("SELECT file, count(fault) FROM day_lines GROUP BY file").fetchall())
    parts: dict[str, dict[str, int]] = {}
    for file, reason, count in connection.execute(
        f"""
        SELECT file, coalesce(reason, 'no reason given') AS why, count(*)
        FROM kept WHERE kind = '{IGNORED}' GROUP BY ALL ORDER BY ALL
        """
    ).fetchall():
        parts.setdefault(file, {})[reason] = count
    rows = []
    for read in reads:
        name = read.file.name
        quarantined = faults.get(name, 0) + sum(fault.line is not None for fault in read.faults)
        rows.append(
            {
                "arrival_date": day,
                "source": source.name,
                "file": name,
                "bytes": read.size,
                "sha256": read.sha256,
                "lines": read.lines,
                "mapped": mapped.get(name, 0),
                "ignored": read.lines - mapped.get(name, 0) - quarantined,
                "quarantined": quarantined,
                "events": events.get(name, 0),
                "duplicates": 0,
                "parts_ignored": json.dumps(parts.get(name, {}), ensure_ascii=False),
                "complete": read.damage is None,
                "incomplete_reason": read.damage,
            }
        )
    return pa.Table.from_pylist(rows, FILES_SCHEMA)
