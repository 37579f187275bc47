"""A lake that reads another lake's events at some version and writes its own interactions and labels."""

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

_SHARED = (EVENTS, FILES, QUARANTINE)


class SnapshotLake(Lake):
    """A lake that reads events, files and quarantine from another lake, at some versions; all other tables are its own.

    Args:
        root: folder of its own tables.
        origin: the lake with the events, which is never written.
        versions: Delta versions of the origin's tables, by name; the others are read at their newest version.

    """

    def __init__(self, root: Path, *, origin: Lake, versions: Mapping[str, int] | None = None) -> None:
        super().__init__(root)
        self._origin = origin
        self._versions = versions or {}

    def path(self, table: Table) -> Path:
        """Return the table's folder."""
        return self._origin.path(table) if table in _SHARED else super().path(table)

    def stored(self, table: Table, *, version: int | None = None) -> DeltaTable:
        """Return the Delta table to read."""
        return super().stored(table, version=self._versions.get(table.name) if version is None else version)

    def folders(self) -> list[Path]:
        """Return the folders that the tables can be in."""
        return [*super().folders(), *self._origin.folders()]

    def _writable(self, table: Table) -> DeltaTable:
        if table in _SHARED:
            raise ValueError(f"{table.name} of {self._origin.root} is read-only here")
        return super()._writable(table)


class EventVersions:
    """For each version of a lake's events, the version of its files that was committed with it."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._by_events: dict[int, Mapping[str, int] | None] = {}

    def at(self, events: int) -> Mapping[str, int] | None:
        """Return the versions of events and files that belong together, or None if they are no longer readable."""
        if events not in self._by_events:
            self._by_events[events] = self._find(events)
        return self._by_events[events]

    def _find(self, events: int) -> Mapping[str, int] | None:
        committed = self._commits[EVENTS.name].get(events)
        # An ingestion commits the table of files just before its events.
        files = [version for version, moment in self._commits[FILES.name].items() if committed and moment <= committed]
        if not files or not is_readable(self._lake, EVENTS, events) or not is_readable(self._lake, FILES, max(files)):
            return None
        return {EVENTS.name: events, FILES.name: max(files)}

    @cached_property
    def _commits(self) -> dict[str, dict[int, int]]:
        """When each version was committed (milliseconds), for all versions still in the logs."""
        return {
            table.name: {commit["version"]: commit["timestamp"] for commit in self._lake.stored(table).history()}
            for table in (EVENTS, FILES)
        }


def is_readable(lake: Lake, table: Table, version: int) -> bool:
    """Return whether a version can still be read: no log expired, no file was vacuumed, no column is missing."""
    try:
        stored = lake.stored(table, version=version)
    except FeedbackError:
        return False
    columns = {field.name for field in stored.schema().fields}
    files = pa.table(stored.get_add_actions()).column("path").to_pylist()
    return columns.issuperset(table.schema.names) and all((lake.path(table) / unquote(file)).exists() for file in files)
