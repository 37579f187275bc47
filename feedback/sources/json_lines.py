"""Read a raw file's lines as JSON texts, and find the faults of a line that need no parsing.

Lines stay text here. DuckDB decides whether a text is JSON when the whole day is loaded, many lines at a time: so a
good line costs a share of bulk operations and no parse in Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feedback.sources.json_depth import TOO_DEEP, may_be_too_deep, too_deep
from feedback.sources.line_streams import FileRead, read_chunks
from feedback.sources.tabular import READERS

LINE_LIMIT: Final = 16 * 1024 * 1024
"""A line of more bytes is quarantined unread."""

_BATCH_BYTES: Final = 32 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


def read_texts(read: FileRead, *, limit: int = LINE_LIMIT) -> Iterator[pa.Table]:
    """Yield the file's lines as tables of (`line`: int64, 1-based; `text`: string, not yet known to be JSON).

    A CSV record and a Parquet row come as a JSON object. Unusable lines (too long, not UTF-8, a CSV record of the wrong
    width, nested too deep) go to `read.faults`. An empty file, or one that damage (`read.damage`) makes unreadable to
    its end, is a fault without a line. If damage cut off the last line (`read.open_line`), the code that parses the
    line decides whether it is whole, and records the damage.
    """
    readers = {"jsonl": _read_jsonl, **READERS}
    batches: list[pa.RecordBatch] = []
    batch_bytes = 0
    for batch in readers[read.file.format](read, limit=limit):
        batches.append(batch)
        batch_bytes += batch.nbytes
        if batch_bytes >= _BATCH_BYTES:
            yield pa.Table.from_batches(batches)
            batches, batch_bytes = [], 0
    if batches:
        yield pa.Table.from_batches(batches)
    if read.damage is not None and read.open_line is None:
        read.file_fault(read.damage)
    elif read.damage is None and read.lines == 0:
        read.file_fault("empty file")


def _read_jsonl(read: FileRead, *, limit: int) -> Iterator[pa.RecordBatch]:
    for start, chunk in read_chunks(read, limit=limit):
        yield _as_batch(chunk.removeprefix(_BOM) if start == 1 else chunk, start, read)


def _as_batch(chunk: bytes, start: int, read: FileRead) -> pa.RecordBatch:
    """Return the chunk's usable lines, numbered from `start`."""
    texts = pa.array([chunk], pa.binary())
    good = not may_be_too_deep(chunk)
    if good:
        try:
            texts = texts.cast(pa.string())
        except pa.ArrowInvalid:
            good = False
    texts = pc.split_pattern(texts, "\n").flatten()
    numbers = np.arange(start, start + len(texts))
    if not good:
        faults = {i: fault for i, line in enumerate(chunk.split(b"\n")) if (fault := _fault(line)) is not None}
        for i, fault in faults.items():
            read.fault(start + i, fault, texts[i].as_py())
        keep = np.ones(len(numbers), dtype=bool)
        keep[list(faults)] = False
        numbers, texts = numbers[keep], texts.filter(pa.array(keep)).cast(pa.string())
    return pa.record_batch([pa.array(numbers), texts], names=["line", "text"])


def _fault(line: bytes) -> str | None:
    if too_deep(line):
        return TOO_DEEP
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return None
