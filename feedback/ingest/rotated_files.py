"""Find files of the books that log rotation moved or compressed, so that they have another name now.

Only equal content identifies the same log. A log that is delivered again in another way (merged, split, unpacked, in
another format or on another day) counts as a new file, and the events of the old one stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from feedback.sources.line_streams import FileRead, read_blocks
from feedback.sources.raw_files import RawFile


def renamed_files(gone: pa.Table, present: Sequence[RawFile]) -> list[tuple[date, str]]:
    """Return arrival day and name of the `gone` files whose content a present file of the same day has.

    Args:
        gone: rows of `FILES` whose files are no longer in the input.
        present: raw files of the input; only those are read whose day has gone files.

    """
    rows = [row for row in gone.select(["arrival_date", "file", "sha256"]).to_pylist() if row["sha256"] is not None]
    days = {row["arrival_date"] for row in rows}
    digests = {
        (file.arrival_date, digest) for file in present if file.arrival_date in days for digest in _digests(file)
    }
    return [(row["arrival_date"], row["file"]) for row in rows if (row["arrival_date"], row["sha256"]) in digests]


def _digests(file: RawFile) -> set[str | None]:
    """Return the SHA-256 (hex) of the file's bytes and, if it can be read to its end, of its unpacked content."""
    content = hashlib.sha256()
    read = FileRead(file=file)
    for block in read_blocks(read):
        content.update(block)
    return {read.sha256} if read.damage is not None else {read.sha256, content.hexdigest()}
