"""Which raw files the books do not know as they lie: what is still to be ingested, whatever was asked for before."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feedback.ingest.ingestion import unbalanced_files
from feedback.lake.delta import Lake
from feedback.lake.tables import FILES
from feedback.sources.raw_files import RawFile

Mark = Sequence[int | str | None]
"""A file's size in bytes, its modification time in nanoseconds, and its SHA-256 (hex; None where it cannot be read)."""


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What a look at the raw files found."""

    new: list[RawFile]
    """Not in the books, or not as they lie, or with books that do not balance since ingestion was interrupted."""
    marks: dict[str, Mark]
    """Of the files whose content was compared with the books, by name: for the next look, which need not read them."""
    unread: int
    """Files whose content the time did not suffice to compare: the next look goes on with them."""


def new_arrivals(
    lake: Lake, files: Sequence[RawFile], *, marks: Mapping[str, Mark] | None = None, seconds: float
) -> Arrivals:
    """Compare raw files with the books.

    A file of another size than the books say is new without being read; one of the same size is read, once. So what an
    ingestion that failed did not bring is new again, and nobody need remember what was asked for.

    Args:
        lake: whose books.
        files: as `discover` finds them.
        marks: what an earlier look returned; only saves reading, so that it may be lost.
        seconds: after so long no further file is read.

    """
    with lake.sql(FILES) as connection:
        rows = connection.execute("SELECT file, arrival_date, bytes, sha256 FROM files").fetchall()
    unbalanced = set(unbalanced_files(lake))
    books = {(file, day): (size, digest) for file, day, size, digest in rows if file not in unbalanced}
    deadline = time.monotonic() + seconds
    new: list[RawFile] = []
    known: dict[str, Mark] = {}
    unread = 0
    for file in files:
        booked = books.get((file.name, file.arrival_date))
        status = file.path.stat()
        # The books do not know the whole size of a file that could not be read to its end.
        if booked is None or (booked[1] is not None and booked[0] != status.st_size):
            new.append(file)
            continue
        mark = (marks or {}).get(file.name)
        if mark is None or tuple(mark[:2]) != (status.st_size, status.st_mtime_ns):
            if time.monotonic() > deadline:
                unread += 1
                continue
            mark = (status.st_size, status.st_mtime_ns, _digest(file))
        known[file.name] = mark
        if mark[2] != booked[1]:
            new.append(file)
    return Arrivals(new=new, marks=known, unread=unread)


def _digest(file: RawFile) -> str | None:
    try:
        with file.path.open("rb") as lying:
            return hashlib.file_digest(lying, "sha256").hexdigest()
    except OSError:
        return None  # as the books have it of such a file
