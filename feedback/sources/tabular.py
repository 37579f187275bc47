"""Read CSV records and Parquet rows as JSON objects, so that a mapping gets one kind of row for all formats."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feedback.lake.connections import connected
from feedback.sources.json_depth import TOO_DEEP, too_deep
from feedback.sources.line_streams import FileRead, hash_file, read_lines
from feedback.sources.raw_files import Format

Line = tuple[int, bytes]

_BOM = b"\xef\xbb\xbf"
_BATCH_ROWS: Final = 8192
_BATCH_BYTES: Final = 16 * 1024 * 1024  # a batch ends here if the rows are large

csv.field_size_limit(2**31 - 1)  # the line limit decides what is too long, not the csv module


def read_csv(read: FileRead, *, limit: int) -> Iterator[pa.RecordBatch]:
    """Yield a comma-separated file's records: `line`, on which it starts, and `text`, a JSON object of strings.

    The first line names the columns. An empty field is null. `read.lines` counts records, without the header.
    """
    lines = _Records(read, limit)
    rows: list[tuple[int, str]] = []
    batch_bytes = good = 0
    header: list[str] | None = None
    header_fault = None
    for record in lines:
        line, raw = record[0][0], b"\n".join(part for _, part in record)
        try:
            if header is None:
                if read.faults:
                    raise _UnfitError("too long")
                header = _header(raw)
                continue
            text = _as_object(raw, header) if raw.strip() else None
        except _UnfitError as unfit:
            if header is None:
                header_fault = f"CSV header: {unfit}"
                break
            # A stray quote swallows the lines after it: only its own line is at fault, and the others are read again.
            swallowed = record[1:] if unfit.stray_quote else []
            read.fault(line, str(unfit), record[0][1] if swallowed else raw)
            lines.put_back(swallowed)
            continue
        good += 1
        if text is not None:
            rows.append((line, text))
            batch_bytes += len(raw)
        if len(rows) >= _BATCH_ROWS or batch_bytes >= _BATCH_BYTES:
            yield _batch(rows)
            rows, batch_bytes = [], 0
    lines.drain()
    read.damage = header_fault or read.damage
    if rows:
        yield _batch(rows)
    read.lines = good + sum(fault.line is not None for fault in read.faults)
    read.open_line = None  # a record alone shows whether it is whole


class _UnfitError(Exception):
    """Why a CSV record cannot be read."""

    def __init__(self, reason: str, *, stray_quote: bool = False) -> None:
        super().__init__(reason)
        self.stray_quote = stray_quote


class _Records:
    """A CSV file's records: lines are joined while a quoted field spans several, until the number of quotes is even."""

    def __init__(self, read: FileRead, limit: int) -> None:
        runs = read_lines(read, limit=limit)
        self._lines = ((start + i, raw) for start, run in runs for i, raw in enumerate(run))
        self._returned = deque[Line]()
        self._limit = limit

    def __iter__(self) -> Iterator[list[Line]]:
        while record := self._next():
            yield record

    def put_back(self, lines: list[Line]) -> None:
        """Put lines back, to be read again."""
        self._returned.extendleft(reversed(lines))

    def drain(self) -> None:
        """Read the rest of the file, for its hash."""
        for _ in self._lines:
            pass

    def _next(self) -> list[Line]:
        """Return the lines of the next record; if its quotes stay odd, the lines up to the limit."""
        record: list[Line] = []
        quotes = size = 0
        while self._returned or self._fill():
            line, raw = self._returned[0]
            if record and (size > self._limit or line != record[-1][0] + 1):
                break  # no record spans a line that was left out
            record.append(self._returned.popleft())
            size += len(raw)
            quotes += raw.count(b'"')
            if quotes % 2 == 0:
                break
        return record

    def _fill(self) -> bool:
        line = next(self._lines, None)
        if line is not None:
            self._returned.append(line)
        return line is not None


def _batch(rows: list[tuple[int, str]]) -> pa.RecordBatch:
    lines, texts = zip(*rows, strict=True)
    return pa.record_batch([pa.array(lines, pa.int64()), pa.array(texts, pa.string())], names=["line", "text"])


def _fields(raw: bytes) -> list[str]:
    try:
        rows = list(csv.reader([raw.decode()], strict=True))
    except UnicodeDecodeError as error:
        raise _UnfitError("not UTF-8") from error
    except csv.Error as error:
        raise _UnfitError(f"not CSV: {error}", stray_quote=True) from error
    if len(rows) != 1:
        raise _UnfitError(f"not CSV: {len(rows)} records in one", stray_quote=True)
    return rows[0]


def _as_object(raw: bytes, header: list[str]) -> str:
    fields = _fields(raw)
    if len(fields) != len(header):
        raise _UnfitError(f"not CSV: {len(fields)} fields under {len(header)} columns")
    if any(too_deep(field.encode()) for field in fields):
        raise _UnfitError(TOO_DEEP)
    row = {name: field or None for name, field in zip(header, fields, strict=True)}
    return json.dumps(row, ensure_ascii=False)


def _header(raw: bytes) -> list[str]:
    names = [name.strip() for name in _fields(raw.removeprefix(_BOM))]
    if not names:
        raise _UnfitError("the first line is blank")
    if not all(names):
        raise _UnfitError(f"column {names.index('') + 1} has no name")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _UnfitError(f"column {twice[0]!r} occurs twice")
    return names


def read_parquet(read: FileRead, *, limit: int) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file's rows: `line`, the 1-based row number, and `text`, a JSON object; times are ISO, UTC.

    `limit` applies to a row's JSON.
    """
    try:
        read.size, read.sha256 = hash_file(read.file.path)
        with (
            read.file.path.open("rb") as opened,
            pq.ParquetFile(opened) as file,
            connected() as connection,
        ):
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield _as_json(batch, connection, read, limit)
    except (pa.ArrowException, duckdb.Error, OSError) as error:
        message = str(error).splitlines()[0]
        read.damage = f"damaged Parquet after line {read.lines}: {message}"


def _as_json(
    batch: pa.RecordBatch, connection: duckdb.DuckDBPyConnection, read: FileRead, limit: int
) -> pa.RecordBatch:
    connection.register("batch", batch)
    texts = connection.sql("SELECT to_json(struct_pack(*COLUMNS(*)))::VARCHAR AS text FROM batch")
    text = texts.to_arrow_table().column("text").combine_chunks()
    lines = pa.array(range(read.lines + 1, read.lines + 1 + len(text)), pa.int64())
    read.lines += len(text)
    long = pc.greater(pc.binary_length(text), limit)
    for i in pc.indices_nonzero(long).to_pylist():
        reason = f"too long: over the limit of {limit:,} bytes"
        read.fault(lines[i].as_py(), reason, text[i].as_py().encode())
    return pa.record_batch([lines, text], names=["line", "text"]).filter(pc.invert(long))


READERS: Final[Mapping[Format, Callable[..., Iterator[pa.RecordBatch]]]] = {"csv": read_csv, "parquet": read_parquet}
"""The reader of each format whose records are not JSON lines."""
