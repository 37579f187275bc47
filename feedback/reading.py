"""From a raw file to JSON texts: what can be told of a line before anybody asks what it means.

Lines stay text here. Whether a text is JSON is decided where the whole day is loaded, by DuckDB, many lines at a
time: a good line costs a share of bulk operations, never a call of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feedback.streams import FileRead, read_lines
from feedback.tabular import read_csv, read_parquet

LINE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes beyond which a line is quarantined unread."""

DEPTH_LIMIT: Final = 200
"""Nesting beyond which a line is quarantined: no log needs it, and parsers down the road recurse."""

_BATCH_BYTES: Final = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


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
        batches.append(_without_deep(batch, read))
        held += batch.nbytes
        if held >= _BATCH_BYTES:
            yield pa.Table.from_batches(batches)
            batches, held = [], 0
    if batches:
        yield pa.Table.from_batches(batches)
    if read.damage is not None and read.open_line is None:
        read.file_fault(read.damage)
    elif read.lines == 0:
        read.file_fault("empty file")


def _read_jsonl(read: FileRead, *, limit: int) -> Iterator[pa.RecordBatch]:
    for start, lines in read_lines(read, limit=limit):
        if start == 1:
            lines[0] = lines[0].removeprefix(_BOM)
        numbers = pa.array(np.arange(start, start + len(lines)))
        raw = pa.array(lines, pa.binary())
        try:
            texts = raw.cast(pa.string())
        except pa.ArrowInvalid:
            good = [_is_utf8(line, bytes_, read) for line, bytes_ in enumerate(lines, start)]
            numbers = numbers.filter(pa.array(good))
            texts = raw.filter(pa.array(good)).cast(pa.string())
        yield pa.record_batch([numbers, texts], names=["line", "text"])


def _is_utf8(line: int, raw: bytes, read: FileRead) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        read.fault(line, f"not UTF-8: byte {error.start + 1}", raw)
        return False
    return True


def _without_deep(batch: pa.RecordBatch, read: FileRead) -> pa.RecordBatch:
    """Leave out the texts nested deeper than the limit; few hold enough brackets to need a closer look."""
    texts = batch.column("text")
    brackets = pc.add(pc.count_substring(texts, "["), pc.count_substring(texts, "{"))
    suspects = pc.indices_nonzero(pc.greater(brackets, DEPTH_LIMIT)).to_pylist()
    deep = [i for i in suspects if _depth(texts[i].as_py()) > DEPTH_LIMIT]
    if not deep:
        return batch
    for i in deep:
        raw = texts[i].as_py().encode()
        read.fault(batch.column("line")[i].as_py(), f"nested deeper than {DEPTH_LIMIT} levels", raw)
    keep = np.ones(batch.num_rows, dtype=bool)
    keep[deep] = False
    return batch.filter(pa.array(keep))


def _depth(text: str) -> int:
    deepest = depth = 0
    for match in _NESTING.finditer(text):
        if match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    return deepest
