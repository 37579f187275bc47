"""A lake file that cannot be read, named, and what to do about it.

What DuckDB and Arrow say of one is many lines long and seldom names the table. So where a read fails, the lake's files
are looked at: those that are missing, have not the size that Delta's log says, or have no footer; and if all of them
seem whole, each is read through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from feedback.exceptions import FeedbackError

READ_ERRORS: Final = (duckdb.Error, pa.ArrowInvalid, OSError)
"""What reading a damaged or a missing file raises, among other things: of bad pages DuckDB raises the bare Error."""

# A journal is made from nothing that is at hand: what it held is lost.
_MADE_AGAIN: Final = {
    **dict.fromkeys(("events", "files", "quarantine"), "`feedback-kto run` to read the logs at hand again"),
    "interactions": "`feedback-kto run` to make it again from the events",
    "labels": "`feedback-kto relabel` to make it again from the interactions",
    "audit_sample": "`feedback-kto run` to make it again from the labels",
}


def name_damage(tables: Iterable[Path]) -> FeedbackError | None:
    """The first file of the tables (Delta folders) that is damaged or missing, as a sentence; None if all are whole."""
    folders = [folder for folder in tables if DeltaTable.is_deltatable(str(folder))]
    for is_whole in (_seems_whole, _reads_through):
        for folder in folders:
            for path, size in _files(folder):
                if not is_whole(path, size):
                    return FeedbackError(f"{folder.name}: {path} is damaged or missing; {_what_to_do(folder)}")
    return None


def _what_to_do(folder: Path) -> str:
    again = _MADE_AGAIN.get(folder.name)
    return "restore it from a copy" + (f", or remove the folder {folder} and run {again}" if again else "")


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """The Parquet files that make up the table now, with their sizes; Delta's log holds the paths percent-encoded."""
    actions = pa.table(DeltaTable(folder).get_add_actions()).select(["path", "size_bytes"])
    for action in actions.to_pylist():
        yield folder / unquote(action["path"]), action["size_bytes"]


def _seems_whole(path: Path, size: int) -> bool:
    try:
        pq.read_metadata(path)
        return path.stat().st_size == size
    except (pa.ArrowException, OSError):
        return False


def _reads_through(path: Path, size: int) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError):
        return False
    return True
