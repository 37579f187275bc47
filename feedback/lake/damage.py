"""Name the damaged file of the lake or of a training set after a failed read, and say what to do.

DuckDB's and Arrow's messages have many lines and seldom name the table. So after a failed read, this looks for a file
that is missing, differs in size from Delta's log, or has no footer; if there is none, it reads each file through. A
training set's files are compared with the counts in its manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from feedback.exceptions import FeedbackError
from label_policy import CLASSES

READ_ERRORS: Final = (duckdb.Error, pa.ArrowInvalid, OSError)
"""Errors that a damaged or missing file raises, among other faults; for bad pages DuckDB raises the base Error."""

# A journal cannot be rebuilt from other tables: its rows are lost.
_REBUILT_BY: Final = {
    **dict.fromkeys(("events", "files", "quarantine"), "`feedback-kto run` to read the present logs again"),
    "interactions": "`feedback-kto run` to build it again from the events",
    "labels": "`feedback-kto relabel` to build it again from the interactions",
    "audit_sample": "`feedback-kto run` to draw it again from the labels",
}


def name_damage(tables: Iterable[Path]) -> FeedbackError | None:
    """Return an error that names the first damaged or missing file of the tables (Delta folders), or None."""
    folders = [folder for folder in tables if DeltaTable.is_deltatable(str(folder))]
    for is_whole in (_seems_whole, lambda path, _: _reads_through(path)):
        for folder in folders:
            for path, size in _files(folder):
                if not is_whole(path, size):
                    return FeedbackError(f"{folder.name}: {path} is damaged or missing; {_what_to_do(folder)}")
    return None


def name_set_damage(path: Path) -> FeedbackError | None:
    """Return an error that names the first damaged or missing file of the training set in `path`, or None."""
    file = _damaged_file(path)
    if file is None:
        return None
    return FeedbackError(
        f"training set {path.name}: {file} is damaged or missing; restore it from a copy, or remove the folder {path} "
        "and run `feedback-kto retrain`, which builds a set from the current labels"
    )


def _damaged_file(path: Path) -> Path | None:
    try:
        parts = [*_parts(json.loads((path / "manifest.json").read_text(encoding="utf-8")))]
    except (OSError, ValueError, KeyError):
        return path / "manifest.json"
    files: list[Path] = []
    for folder, split, rows in parts:
        # Shards are numbered without gaps, and a part without rows has one too, so a missing file's name is known.
        read, shard = 0, 0
        while shard == 0 or read < rows:
            file = path / folder / f"{split}-{shard:05d}.parquet"
            try:
                read += pq.read_metadata(file).num_rows
            except (pa.ArrowException, OSError):
                return file
            files.append(file)
            shard += 1
        if read > rows:
            return files[-1]
    return next((file for file in files if not _reads_through(file)), None)


def _parts(manifest: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Yield folder, split and rows of each part of a training set. A set without pairs has no folder of pairs."""
    for split, counts in (("train", manifest["counts"]["train"]), ("heldout", manifest["counts"]["heldout"])):
        for name in CLASSES:
            yield name, split, counts.get(name, 0)
        if any(manifest["preferences"].values()):
            yield "preferences", split, manifest["preferences"][split]


def _what_to_do(folder: Path) -> str:
    command = _REBUILT_BY.get(folder.name)
    return "restore it from a copy" + (f", or remove the folder {folder} and run {command}" if command else "")


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield the table's current Parquet files with their sizes; Delta's log holds the paths percent-encoded."""
    actions = pa.table(DeltaTable(folder).get_add_actions()).select(["path", "size_bytes"])
    for action in actions.to_pylist():
        yield folder / unquote(action["path"]), action["size_bytes"]


def _seems_whole(path: Path, size: int) -> bool:
    try:
        pq.read_metadata(path)
        return path.stat().st_size == size
    except (pa.ArrowException, OSError):
        return False


def _reads_through(path: Path) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError):
        return False
    return True
