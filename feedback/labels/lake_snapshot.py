"""A lake of its own that is made from another one's record of events, as it was at some version."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable

from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake, Table
from feedback.lake.tables import EVENTS, FILES, QUARANTINE

_RECORD = (EVENTS, FILES, QUARANTINE)


class LakeOfThen(Lake):
    """Reads the record of what happened from another lake, as it was at some versions; all else is its own.

    Args:
        root: where what is made lies.
        origin: the lake with the record, which is never written.
        versions: Delta versions of its tables, by name; the others are read as they are.

    """

    def __init__(self, root: Path, *, origin: Lake, versions: Mapping[str, int] | None = None) -> None:
        super().__init__(root)
        self._origin = origin
        self._versions = versions or {}

    def path(self, table: Table) -> Path:
        """Where the table lies."""
        return self._origin.path(table) if table in _RECORD else super().path(table)

    def stored(self, table: Table, *, version: int | None = None) -> DeltaTable:
        """The Delta table that is read."""
        return super().stored(table, version=self._versions.get(table.name) if version is None else version)

    def folders(self) -> list[Path]:
        """Where tables that are read may lie."""
        return [*super().folders(), *self._origin.folders()]

    def _writable(self, table: Table) -> DeltaTable:
        if table in _RECORD:
            raise ValueError(f"{table.name} of {self._origin.root} is only read")
        return super()._writable(table)


class Record:
    """The versions of a lake's record of events, by that of its events."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._found: dict[int, Mapping[str, int] | None] = {}

    def at(self, events: int) -> Mapping[str, int] | None:
        """The versions of events and books that went together, or None where they can be read no longer."""
        if events not in self._found:
            self._found[events] = self._find(events)
        return self._found[events]

    def _find(self, events: int) -> Mapping[str, int] | None:
        committed = self._commits[EVENTS.name].get(events)
        # An ingestion commits its books just before its events.
        books = [version for version, moment in self._commits[FILES.name].items() if committed and moment <= committed]
        if not books or not is_readable(self._lake, EVENTS, events) or not is_readable(self._lake, FILES, max(books)):
            return None
        return {EVENTS.name: events, FILES.name: max(books)}

    @cached_property
    def _commits(self) -> dict[str, dict[int, int]]:
        """When each version was committed (milliseconds), as far as the logs go back."""
        return {
            table.name: {commit["version"]: commit["timestamp"] for commit in self._lake.stored(table).history()}
            for table in (EVENTS, FILES)
        }


def is_readable(lake: Lake, table: Table, version: int) -> bool:
    """Whether a table can still be read as it was, with all its columns: no log expired, and no file was vacuumed."""
    try:
        stored = lake.stored(table, version=version)
    except FeedbackError:
        return False
    columns = {field.name for field in stored.schema().fields}
    files = pa.table(stored.get_add_actions()).column("path").to_pylist()
    return columns.issuperset(table.schema.names) and all((lake.path(table) / unquote(file)).exists() for file in files)
