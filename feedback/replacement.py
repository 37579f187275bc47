"""Rows that take the place of some days of a table: written as they come, seen all at once or not at all."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

if TYPE_CHECKING:
    from feedback.lake import Table

_GROUP_ROWS: Final = 100_000  # that a reader decodes at a time
_ATTEMPTS: Final = 20


class Replacement:
    """Parquet files beside those of a Delta table, of which its log says nothing before `commit`.

    What is written and never committed is no part of the table, and goes when the table is next vacuumed.
    """

    def __init__(self, path: Path, table: Table, days: Sequence[date]) -> None:
        self._path = path
        self._table = table
        self._days = frozenset(days)
        self._added: list[AddAction | RemoveAction] = []

    def write(self, rows: pa.Table) -> None:
        """Write more of the rows; several threads may, at once.

        Args:
            rows: columns in any order, cast to the table's schema.

        Raises:
            ValueError: rows of a day that is not to be replaced.

        """
        schema, names = self._table.schema, self._table.partition_by
        rows = rows.select(schema.names).cast(schema)
        strays = set(rows.column(names[0]).unique().to_pylist()) - self._days
        if strays:
            raise ValueError(f"{self._table.name}: rows of {sorted(strays)} are outside the days to replace")
        pads.write_dataset(
            rows,
            self._path,
            format="parquet",
            partitioning=pads.partitioning(pa.schema([schema.field(name) for name in names]), flavor="hive"),
            basename_template=f"part-{uuid.uuid4()}-{{i}}.parquet",
            min_rows_per_group=_GROUP_ROWS,
            max_rows_per_group=_GROUP_ROWS,
            max_partitions=len(self._days) * 1000,
            existing_data_behavior="overwrite_or_ignore",
            file_visitor=self._note,
        )

    def commit(self) -> None:
        """Replace the days by what was written, in one commit."""
        listed = [day.isoformat() for day in sorted(self._days)]
        for attempt in range(_ATTEMPTS):
            stored = DeltaTable(self._path)
            try:
                stored.create_write_transaction(
                    self._added,
                    "overwrite",
                    stored.schema(),
                    partition_by=list(self._table.partition_by),
                    partition_filters=[(self._table.partition_by[0], "in", listed)],
                )
            except CommitFailedError:
                # Another run committed other days since the table was opened a line above: theirs stay as they are.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def discard(self) -> None:
        """Remove what was written."""
        for action in self._added:
            (self._path / action.path).unlink(missing_ok=True)

    def _note(self, written: pads.WrittenFile) -> None:
        *folders, name = Path(written.path).parts[-len(self._table.partition_by) - 1 :]
        values = (folder.partition("=") for folder in folders)
        self._added.append(
            AddAction(
                path="/".join([*folders, name]),
                size=written.size,
                partition_values={column: unquote(value) for column, _, value in values},
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps({"numRecords": written.metadata.num_rows}),
            )
        )
