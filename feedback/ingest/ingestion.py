"""Ingest the raw files of arrival days into the tables `events`, `quarantine` and `files`.

Days are mapped in parallel, one a processor, and written as they come, so memory does not grow with the number of days.
Each table is replaced in one commit.

Raw logs are rotated away, and the lake outlives them. A file in the books that is no longer in the input keeps its
rows, even if other files of its day are read again. A file that rotation only renamed is read under its new name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feedback.exceptions import FeedbackError
from feedback.ingest.dedupe import Deliveries
from feedback.ingest.map_day import DayMapper, MappedDay, day_mapper
from feedback.ingest.quarantine_reasons import is_of_the_file
from feedback.ingest.rotated_files import renamed_files
from feedback.lake.arrow_rows import without_rows
from feedback.lake.delta import Lake, Table
from feedback.lake.parallel import PROCESSORS, in_order
from feedback.lake.tables import EVENTS, FILES, QUARANTINE
from feedback.progress import Report, silent
from feedback.sources.raw_files import RawFile
from feedback.sources.source import Source

_BATCH_BYTES: Final = 256 * 1024 * 1024  # of events that are deduplicated together


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
        lake: holds the tables.
        source: the mapping.
        files: the raw files of the input; those of other arrival days are not read.
        days: the arrival days to replace; a day without a file in the input does not change.
        input_root: the folder that the files' names are relative to.
        report: called after each arrival day, in files.

    Returns:
        The books: a row a file, in the schema of `FILES`, where
        `lines = mapped + ignored + quarantined` and events mapped = `events` stored + `duplicates`.

    """
    wanted = sorted((file for file in files if file.arrival_date in set(days)), key=lambda f: f.arrival_date)
    replaced = sorted({file.arrival_date for file in wanted})
    books = [FILES.schema.empty_table()]
    faults = [QUARANTINE.schema.empty_table()]
    # The context that is entered last exits first, so its table is committed first.
    with (
        lake.replacing(EVENTS, replaced) as events,
        lake.replacing(FILES, replaced) as entries,
        lake.replacing(QUARANTINE, replaced) as quarantine,
        lake.sql(EVENTS) as connection,
        ThreadPoolExecutor(PROCESSORS) as pool,
    ):
        deliveries = Deliveries(connection, replaced)
        read_again = [(file.arrival_date, file.name) for file in wanted]
        read_again += renamed_files(_of_other_files(lake, FILES, read_again, replaced), wanted)
        quarantine.write(_of_other_files(lake, QUARANTINE, read_again, replaced))
        gone = _of_other_files(lake, FILES, read_again, replaced)
        entries.write(gone)
        for day in gone.column("arrival_date").unique().to_pylist():
            rows = _of_other_files(lake, EVENTS, read_again, [day])
            deliveries.repeated(rows.column("event_id"))
            events.write(rows)
        for batch in _batches(_mapped(pool, source, wanted, input_root, report)):
            fresh, counted = _without_duplicates(batch, deliveries)
            books.append(counted)
            faults += [day.quarantine.slice(0, 1) for day in batch]
            quarantine.write(pa.concat_tables(day.quarantine for day in batch))
            list(pool.map(events.write, fresh))
        entries.write(pa.concat_tables(books))
        _refuse_to_empty(lake, source, pa.concat_tables(books), pa.concat_tables(faults))
    return pa.concat_tables(books)


def _mapped(
    pool: ThreadPoolExecutor, source: Source, files: Sequence[RawFile], input_root: Path, report: Report
) -> Iterator[MappedDay]:
    """Yield the files' mapped days in order; a few days are mapped ahead of the caller."""
    with ExitStack() as stack:
        idle: SimpleQueue[DayMapper] = SimpleQueue()
        for _ in range(PROCESSORS):
            idle.put(stack.enter_context(day_mapper(source)))

        def work(of_day: Sequence[RawFile]) -> MappedDay:
            mapper = idle.get()
            try:
                return mapper.map(of_day, input_root=input_root)
            finally:
                idle.put(mapper)

        done = lines = 0
        days = (list(of_day) for _, of_day in groupby(files, key=lambda file: file.arrival_date))
        for mapped in in_order(pool, work, days):
            done += mapped.books.num_rows
            lines += pc.sum(mapped.books.column("lines")).as_py()
            report("feedback_events", done, len(files), "files", lines=lines)
            yield mapped


def _batches(days: Iterable[MappedDay]) -> Iterator[list[MappedDay]]:
    batch: list[MappedDay] = []
    for day in days:
        batch.append(day)
        if sum(each.events.nbytes for each in batch) >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _without_duplicates(batch: Sequence[MappedDay], deliveries: Deliveries) -> tuple[list[pa.Table], pa.Table]:
    """Return the events to store, day by day, and the books with `events` and `duplicates` filled in."""
    ids = [chunk for day in batch for chunk in day.events.column("event_id").chunks]
    repeated = deliveries.repeated(pa.chunked_array(ids, pa.string()))
    fresh, books = [], []
    start = 0
    for day in batch:
        end = start + day.events.num_rows
        low, high = np.searchsorted(repeated, (start, end))
        again = repeated[low:high] - start
        start = end
        counts = day.events.column("file").take(again).value_counts().to_pylist()
        by_file = {count["values"]: count["counts"] for count in counts}
        duplicates = pa.array([by_file.get(name, 0) for name in day.books.column("file").to_pylist()], pa.int64())
        stored = pc.subtract(day.books.column("events"), duplicates)
        books.append(_with(_with(day.books, "duplicates", duplicates), "events", stored))
        fresh.append(without_rows(day.events, again))
    return fresh, pa.concat_tables(books)


def _with(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), values)


def _refuse_to_empty(lake: Lake, source: Source, books: pa.Table, faults: pa.Table) -> None:
    """Raise if no line maps on days that gave events before: then the mapping is at fault, not the lines."""
    if pc.sum(books.column("mapped")).as_py() or not faults.num_rows:
        return
    with lake.sql(EVENTS) as connection:
        [(stored,)] = connection.execute(
            "SELECT count(*) FROM events WHERE arrival_date IN (SELECT unnest(?))",
            [books.column("arrival_date").to_pylist()],
        ).fetchall()
    if stored:
        first = faults.slice(0, 1).to_pylist()[0]
        where = f"{first['file']} line {first['line']}" if first["line"] else first["file"]
        what_to_do = (
            "replace them by whole files, or remove them to keep the events that they gave"
            if all(map(is_of_the_file, faults.column("reason").to_pylist()))
            else f"correct the mapping {source.path} with `feedback-kto source check`"
        )
        raise FeedbackError(
            f"no line maps now on days that gave {stored} events before ({where}: {first['reason']}); " + what_to_do
        )


def unbalanced_files(lake: Lake) -> list[str]:
    """Return the files whose books do not balance or do not match the number of events and quarantined lines.

    The three tables are replaced one after the other; an interruption between them leaves such files.
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


def _of_other_files(lake: Lake, table: Table, read_again: Sequence[tuple[date, str]], days: Sequence[date]) -> pa.Table:
    """Return the table's rows on `days` without those of the files (arrival day and name) that are read again."""
    with lake.sql(table) as connection:
        return (
            connection.sql(
                f"""
            SELECT * FROM {table.name}
            WHERE arrival_date IN (SELECT unnest($days))
                AND (arrival_date, file) NOT IN (SELECT unnest($days_read), unnest($files_read))
            """,
                params={
                    "days": list(days),
                    "days_read": [day for day, _ in read_again],
                    "files_read": [name for _, name in read_again],
                },
            )
            .to_arrow_table()
            .cast(table.schema)
        )
