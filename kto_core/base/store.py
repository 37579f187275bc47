"""Content-addressed folders: named by a hash of their inputs, and renamed into place only when complete."""

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
    """Return the SHA-256 in hex of `value` as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, if they are missing.

    Raises:
        TrainingError: if it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"the folder {folder} cannot be created ({error}); give a writable one") from error


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder beside `folder`; rename it into place if the block succeeds, remove it otherwise.

    A folder that another process published in the meantime stays: it has the same content.

    Raises:
        TrainingError: if the parent folder cannot be created.
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
    """Write `value` as indented JSON, to a scratch file that is renamed; NaN is an error."""
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    os.replace(scratch, path)  # noqa: PTH105 - atomic on every platform, like Path.replace


def read_json(path: Path) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        TrainingError: if the file is missing or is not a JSON object.

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
    """Return the installed version of feedback-kto, or `0+unknown` when run without installing."""
    try:
        return metadata.version("feedback-kto")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def write_metrics(path: Path, metrics: Sequence[Mapping[str, float | None]]) -> None:
    """Write one row per step as Parquet."""
    pq.write_table(pa.Table.from_pylist([dict(figures) for figures in metrics]), path)
