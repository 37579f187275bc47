"""Files of the books that lie under another name now, as rotation leaves them: moved, or compressed.

The same log is told by its content alone. What is delivered again in any other way (files merged, split, unpacked, in
another format or on another day) is not told from a file that was rotated away, and what that one gave stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from feedback.sources.line_streams import FileRead, read_blocks
from feedback.sources.raw_files import RawFile


def renamed_files(gone: pa.Table, at_hand: Sequence[RawFile]) -> list[tuple[date, str]]:
    """The arrival day and name of those files of the books whose content a file of the same day now has.

    Args:
        gone: rows of `FILES`, of files that are not at hand.
        at_hand: raw files; they are read where files of their day are gone.

    """
    rows = [row for row in gone.select(["arrival_date", "file", "sha256"]).to_pylist() if row["sha256"] is not None]
    days = {row["arrival_date"] for row in rows}
    lying = {(file.arrival_date, digest) for file in at_hand if file.arrival_date in days for digest in _digests(file)}
    return [(row["arrival_date"], row["file"]) for row in rows if (row["arrival_date"], row["sha256"]) in lying]


def _digests(file: RawFile) -> set[str | None]:
    """SHA-256, hex, of the file as it lies and of what it holds unpacked, as far as it can be read."""
    content = hashlib.sha256()
    read = FileRead(file=file)
    for block in read_blocks(read):
        content.update(block)
    return {read.sha256} if read.damage is not None else {read.sha256, content.hexdigest()}
