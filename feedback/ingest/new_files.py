"""Find raw files that are new or changed against the books and must be ingested."""

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
    """The result of comparing the raw files with the books."""

    new: list[RawFile]
    """Files that are not in the books, have changed since, or do not balance because ingestion was interrupted."""
    marks: dict[str, Mark]
    """Marks of the compared files, by name: with them, the next call need not read these files again."""
    unread: int
    """Files that could not be compared in time; the next call compares them."""


def new_arrivals(
    lake: Lake, files: Sequence[RawFile], *, marks: Mapping[str, Mark] | None = None, seconds: float
) -> Arrivals:
    """Compare raw files with the books.

    A file whose size differs from the books is new without a read; one of the same size is read once. So the files of a
    failed ingestion are new again, and no request has to be remembered.

    Args:
        lake: holds the books.
        files: the files that `discover` returns.
        marks: the marks that an earlier call returned; they only save reads, so they may be lost.
        seconds: no further file is read after this time.

    """
    with lake.sql(FILES) as connection:
        rows = connection.execute("SELECT file, arrival_date, bytes, sha256 FROM files").fetchall()
    unbalanced = set(unbalanced_files(lake))
    books = {(file, day): (size, digest) for file, day, size, digest in rows if file not in unbalanced}
    deadline = time.monotonic() + seconds
    new: list[RawFile] = []
    compared: dict[str, Mark] = {}
    unread = 0
    for file in files:
        booked = books.get((file.name, file.arrival_date))
        status = file.path.stat()
        # The books do not hold the whole size of a file that could not be read to its end.
        if booked is None or (booked[1] is not None and booked[0] != status.st_size):
            new.append(file)
            continue
        mark = (marks or {}).get(file.name)
        if mark is None or tuple(mark[:2]) != (status.st_size, status.st_mtime_ns):
            if time.monotonic() > deadline:
                unread += 1
                continue
            mark = (status.st_size, status.st_mtime_ns, _digest(file))
        compared[file.name] = mark
        if mark[2] != booked[1]:
            new.append(file)
    return Arrivals(new=new, marks=compared, unread=unread)


def _digest(file: RawFile) -> str | None:
    try:
        with file.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return None  # the books too hold None for such a file
