"""A source: the SQL file that turns one kind of raw log into events.

The file is one SELECT over `lines`; its comment header may carry settings, one a line:

    -- description: who wrote these logs
    -- arrival_date: 2022-08-04      (for files without a date in their path)
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from feedback.exceptions import SourceError

SHIPPED: Final = Path(__file__).resolve().parents[2] / "examples" / "sources"

_SETTING = re.compile(r"--\s*(?P<key>arrival_date|description)\s*:\s*(?P<value>.*?)\s*")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A mapping from raw lines to events."""

    name: str
    """The file's name without `.sql`; events carry it unless the mapping returns `source` itself."""
    path: Path
    sql: str
    digest: str
    """SHA-256 of the file, hex."""
    arrival_date: date | None
    """The arrival day of files that have no date in their path."""
    description: str


def shipped_sources() -> dict[str, Path]:
    """Return the sources that come with the project: name to SQL file."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.sql"))}


def load_source(name_or_path: str | Path) -> Source:
    """Read a source, by the name of a shipped one (`star`) or by the path of a SQL file.

    Raises:
        SourceError: there is no such source or file, it cannot be read, or its header does not make sense.

    """
    path = _locate(name_or_path)
    try:
        raw = path.read_bytes()
        sql = raw.decode("utf-8-sig")
    except OSError as error:
        raise SourceError(f"Source {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"Source {path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    settings = _header(sql, path)
    return Source(
        name=path.stem,
        path=path,
        sql=sql,
        digest=hashlib.sha256(raw).hexdigest(),
        arrival_date=_arrival_date(settings.get("arrival_date"), path),
        description=settings.get("description", ""),
    )


def _locate(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    shipped = shipped_sources()
    if text in shipped:
        return shipped[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise SourceError(f"Source {text} is a folder: give the path of one SQL file in it.")
    raise SourceError(
        f"There is no source {text!r}: give one of {', '.join(shipped) or 'none shipped'}, or the path of a SQL file."
    )


def _header(sql: str, path: Path) -> dict[str, str]:
    settings: dict[str, str] = {}
    for text in sql.splitlines():
        if text.strip() and not text.lstrip().startswith("--"):
            break
        if match := _SETTING.fullmatch(text.strip()):
            if match["key"] in settings:
                raise SourceError(f"Source {path} sets {match['key']} twice in its header: keep one.")
            settings[match["key"]] = match["value"]
    return settings


def _arrival_date(value: str | None, path: Path) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise SourceError(f"Source {path}: arrival_date {value!r} is no date; write it as 2022-08-04.") from error
