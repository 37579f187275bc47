"""Find the raw files of an input, and the day on which each arrived."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal

from feedback.exceptions import FeedbackError
from feedback.sources.source import Source

Format = Literal["jsonl", "csv", "parquet"]
Compression = Literal["gzip", "zstd"]

FORMATS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
"""The format of a raw file by the ending of its name; `feedback.sources.tabular.READERS` reads all but JSON lines."""
_PACKED: Final = frozenset({"parquet"})  # compressed inside, and not by `.gz` or `.zst`
_COMPRESSIONS: Final[dict[str, Compression]] = {".gz": "gzip", ".zst": "zstd"}
_DAY = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


@dataclass(frozen=True, kw_only=True)
class RawFile:
    """One raw log file."""

    path: Path
    name: str
    """Relative to the input folder, with `/`: the file's identity in the lake, whichever machine reads it."""
    arrival_date: date
    format: Format
    compression: Compression | None


def discover(input: Path, source: Source) -> list[RawFile]:
    """Return the raw files under `input` (a folder, or one file), by arrival day and then by name.

    A file's arrival day is the last date (YYYY-MM-DD) in its path under `input`, or the one that the source declares,
    or else the file's modification day, UTC. Files are of `FORMATS`, plain, `.gz` or `.zst` (Parquet is plain only).
    `skipped_files` names all other files.

    Raises:
        FeedbackError: `input` does not exist or holds no raw file.

    """
    files = []
    for path, name in _walk(input):
        kind = _kind(path.name)
        if kind is not None:
            day = _arrival_date(path, name, source)
            files.append(RawFile(path=path, name=name, arrival_date=day, format=kind[0], compression=kind[1]))
    if not files:
        raise FeedbackError(
            f"There is no raw log in {input}: put {endings()} files there (all but Parquet may be .gz or .zst), "
            "or name another input."
        )
    return sorted(files, key=lambda file: (file.arrival_date, file.name))


def skipped_files(input: Path) -> list[str]:
    """Return the names of files under `input` that `discover` leaves out because no reader knows their format.

    Raises:
        FeedbackError: `input` does not exist.

    """
    return sorted(name for path, name in _walk(input) if _kind(path.name) is None)


def _walk(input: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file under `input` except hidden ones, which belong to tools (`._copy`, `.crc`), not to logs."""
    if input.is_file():
        yield input, input.name
        return
    if not input.is_dir():
        raise FeedbackError(f"The input folder {input} does not exist: name the folder that holds the raw logs.")

    def refuse(error: OSError) -> None:
        raise FeedbackError(f"The folder {error.filename} cannot be read ({error.strerror}): grant access to it.")

    # Not rglob, which skips folders without read access: files in them would silently count as gone.
    for folder, subfolders, names in os.walk(input, onerror=refuse, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            if name.startswith(".") or not path.is_file():
                continue
            if not os.access(path, os.R_OK):
                raise FeedbackError(f"The file {path} cannot be read (Permission denied): grant access to it.")
            yield path, path.relative_to(input).as_posix()


def endings() -> str:
    """List the endings of `FORMATS`: `.jsonl, .csv or .parquet`."""
    *others, last = FORMATS
    return f"{', '.join(others)} or {last}"


def _kind(name: str) -> tuple[Format, Compression | None] | None:
    stem, _, last = name.lower().rpartition(".")
    compression = _COMPRESSIONS.get(f".{last}")
    if compression is not None:
        last = stem.rpartition(".")[2]
    format = FORMATS.get(f".{last}")
    if format is None or (format in _PACKED and compression is not None):
        return None
    return format, compression


def _arrival_date(path: Path, name: str, source: Source) -> date:
    for text in reversed(_DAY.findall(name)):
        try:
            return date.fromisoformat(text)
        except ValueError:
            continue  # digits that only look like a date, such as 2026-13-45
    if source.arrival_date is not None:
        return source.arrival_date
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).date()
