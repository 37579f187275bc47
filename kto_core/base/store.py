"""Content-addressed folders: named by what went into them, written beside and renamed, so one that exists is whole."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kto_core.base.exceptions import TrainingError


def digest(value: object) -> str:
    """SHA-256 in hex over `value` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are missing.

    Raises:
        TrainingError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"the folder {folder} cannot be made ({error}); give one that can be written") from error


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Give a scratch folder beside `folder`; rename it into place if the block ends well, remove it otherwise.

    A folder that another process put there meanwhile wins: it was made from the same content.

    Raises:
        TrainingError: if the folder above cannot be made.
    """
    make_folder(folder.parent)
    scratch = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    scratch.mkdir()
    try:
        yield scratch
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write `value` as indented JSON, beside and renamed; NaN is an error."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    beside.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    os.replace(beside, path)  # noqa: PTH105 - atomic on every platform, like Path.replace


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        TrainingError: if the file is missing or holds no JSON object.

    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise TrainingError(f"{path} does not exist") from None
    except (ValueError, OSError) as error:
        raise TrainingError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise TrainingError(f"{path} must hold a JSON object, not {type(value).__name__}")
    return value


def code_version() -> str:
    """The installed version of feedback-kto, or `0+unknown` when run without installing."""
    try:
        return metadata.version("feedback-kto")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def write_metrics(path: Path, metrics: Sequence[Mapping[str, float | None]]) -> None:
    """Write a row a step as Parquet."""
    pq.write_table(pa.Table.from_pylist([dict(figures) for figures in metrics]), path)
