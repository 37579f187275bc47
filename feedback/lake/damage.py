"""A file of the lake or of a training set that cannot be read, named, and what to do about it.

What DuckDB and Arrow say of one is many lines long and seldom names the table. So where a read fails, the lake's files
are looked at: those that are missing, have not the size that Delta's log says, or have no footer; and if all of them
seem whole, each is read through. A training set's files are held against the counts in its manifest.
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
    for is_whole in (_seems_whole, lambda path, _: _reads_through(path)):
        for folder in folders:
            for path, size in _files(folder):
                if not is_whole(path, size):
                    return FeedbackError(f"{folder.name}: {path} is damaged or missing; {_what_to_do(folder)}")
    return None


def name_set_damage(path: Path) -> FeedbackError | None:
    """The first file of the training set in the folder `path` that is damaged or missing; None if all are whole."""
    file = _damaged_file(path)
    if file is None:
        return None
    return FeedbackError(
        f"training set {path.name}: {file} is damaged or missing; restore it from a copy, or remove the folder {path} "
        "and run `feedback-kto retrain`, which makes the set that the labels make now"
    )


def _damaged_file(path: Path) -> Path | None:
    try:
        parts = [*_parts(json.loads((path / "manifest.json").read_text(encoding="utf-8")))]
    except (OSError, ValueError, KeyError):
        return path / "manifest.json"
    files: list[Path] = []
    for folder, split, rows in parts:
        # The shards are numbered without gaps, and there is one even of no rows: what is missing has a name.
        found, shard = 0, 0
        while shard == 0 or found < rows:
            file = path / folder / f"{split}-{shard:05d}.parquet"
            try:
                found += pq.read_metadata(file).num_rows
            except (pa.ArrowException, OSError):
                return file
            files.append(file)
            shard += 1
        if found > rows:
            return files[-1]
    return next((file for file in files if not _reads_through(file)), None)


def _parts(manifest: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Folder, split and rows of each part of a training set. Without pairs there is no folder of them."""
    for split, counts in (("train", manifest["counts"]["train"]), ("heldout", manifest["counts"]["heldout"])):
        for name in CLASSES:
            yield name, split, counts.get(name, 0)
        if any(manifest["preferences"].values()):
            yield "preferences", split, manifest["preferences"][split]


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


def _reads_through(path: Path) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except (pa.ArrowException, OSError):
        return False
    return True
