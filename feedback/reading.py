"""From a raw file to JSON texts: what can be told of a line before anybody asks what it means.

Lines stay text here. Whether a text is JSON is decided where the whole day is loaded, by DuckDB, many lines at a
time: a good line costs a share of bulk operations, never a parse in Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from feedback.nesting import TOO_DEEP, too_deep
from feedback.streams import FileRead, read_lines
from feedback.tabular import read_csv, read_parquet

LINE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes beyond which a line is quarantined unread."""

_BATCH_BYTES: Final = 32 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


def read_texts(read: FileRead, *, limit: int = LINE_LIMIT) -> Iterator[pa.Table]:
    """Yield the file's lines as tables of (`line`: int64, 1-based; `text`: string, yet to be proved JSON).

    A CSV record and a Parquet row come as a JSON object. Lines that cannot be given (too long, not UTF-8, a CSV
    record of the wrong width, nested too deep) go to `read.faults`; so does, without a line, a file that is empty or
    that damage (`read.damage`) keeps from being read to its end. If damage cut the last line off (`read.open_line`),
    only who parses that line can tell whether it is whole, and records the damage.
    """
    readers = {"jsonl": _read_jsonl, "csv": read_csv, "parquet": read_parquet}
    batches: list[pa.RecordBatch] = []
    held = 0
    for batch in readers[read.file.format](read, limit=limit):
        batches.append(batch)
        held += batch.nbytes
        if held >= _BATCH_BYTES:
            yield pa.Table.from_batches(batches)
            batches, held = [], 0
    if batches:
        yield pa.Table.from_batches(batches)
    if read.damage is not None and read.open_line is None:
        read.file_fault(read.damage)
    elif read.damage is None and read.lines == 0:
        read.file_fault("empty file")


def _read_jsonl(read: FileRead, *, limit: int) -> Iterator[pa.RecordBatch]:
    for start, lines in read_lines(read, limit=limit):
        if start == 1:
            lines[0] = lines[0].removeprefix(_BOM)
        numbers = np.arange(start, start + len(lines))
        texts = pa.array(lines, pa.binary())
        deep = [i for i, line in enumerate(lines) if too_deep(line)]
        for i in deep:
            read.fault(start + i, TOO_DEEP, lines[i])
        broken = [] if _all_utf8(texts) else [i for i, line in enumerate(lines) if not _is_utf8(line)]
        for i in set(broken).difference(deep):
            read.fault(start + i, "not UTF-8", lines[i])
        if deep or broken:
            keep = np.ones(len(lines), dtype=bool)
            keep[deep + broken] = False
            numbers, texts = numbers[keep], texts.filter(pa.array(keep))
        yield pa.record_batch([pa.array(numbers), texts.cast(pa.string())], names=["line", "text"])


def _all_utf8(texts: pa.Array) -> bool:
    try:
        texts.cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
