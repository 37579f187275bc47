"""Rows that take the place of some days of a table: written as they come, seen all at once or not at all."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

if TYPE_CHECKING:
    from feedback.lake.delta import Table

_GROUP_ROWS: Final = 100_000  # that a reader decodes at a time
# Columns whose dictionary would be as long as they are.
_NO_TWO_ALIKE: Final = frozenset(
    ("event_id", "draft_id", "ticket_id", "preferred_over", "prompt", "completion", "final_text", "extra", "evidence")
)
_ATTEMPTS: Final = 20


class Replacement:
    """Parquet files beside those of a Delta table, of which its log says nothing before `commit`.

    What is written and never committed is no part of the table, and goes when the table is next vacuumed.
    """

    def __init__(self, path: Path, table: Table, days: Sequence[date]) -> None:
        self._path = path
        self._table = table
        self._days = frozenset(days)
        self._written: list[str] = []
        self._added: list[AddAction | RemoveAction] = []
        self.version: int | None = None
        """The Delta version that holds what was written, once it is committed."""

    def write(self, rows: pa.Table) -> None:
        """Write more of the rows; several threads may, at once.

        Args:
            rows: columns in any order, cast to the table's schema.

        Raises:
            ValueError: rows of a day that is not to be replaced.

        """
        rows = rows.select(self._table.schema.names).cast(self._table.schema)
        strays = set(rows.column(self._table.partition_by[0]).unique().to_pylist()) - self._days
        if strays:
            raise ValueError(f"{self._table.name}: rows of {sorted(strays)} are outside the days to replace")
        for values, part in _parted(rows, self._table.partition_by):
            self._write_part(values, part)

    def _write_part(self, values: dict[str, object], rows: pa.Table) -> None:
        """Write the rows of one partition, in a file of their own."""
        folder = "/".join(f"{name}={quote(str(value), safe='')}" for name, value in values.items())
        path = f"{folder}/part-{uuid.uuid4()}.parquet"
        (self._path / folder).mkdir(parents=True, exist_ok=True)
        # Noted before it is written, so that what an error leaves is removed.
        self._written.append(path)
        pq.write_table(
            rows,
            self._path / path,
            row_group_size=_GROUP_ROWS,
            use_dictionary=[field.name for field in rows.schema if field.name not in _NO_TWO_ALIKE],
            write_statistics=[field.name for field in rows.schema if not pa.types.is_nested(field.type)],
        )
        self._added.append(
            AddAction(
                path=path,
                size=(self._path / path).stat().st_size,
                partition_values={name: str(value) for name, value in values.items()},
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps({"numRecords": rows.num_rows}),
            )
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
                    # It is the next version or none: then one knows which.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:
                # Another run committed other days since the table was opened a line above: theirs stay as they are.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self.version = stored.version() + 1
                return

    def discard(self) -> None:
        """Remove what was written."""
        for path in self._written:
            (self._path / path).unlink(missing_ok=True)


def _parted(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """The rows by the values of some columns, without those columns; rows that lie together are not copied."""
    keys = rows.select(names).combine_chunks()
    ids = np.zeros(len(keys), dtype=np.int64)
    for column in keys.columns:
        encoded = column.combine_chunks().dictionary_encode()
        ids = ids * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    if len(starts) > len(np.unique(ids)):
        order = np.argsort(ids, kind="stable")
        rows, keys, ids = rows.take(pa.array(order)), keys.take(pa.array(order)), ids[order]
        starts = np.flatnonzero(np.diff(ids, prepend=-1))
    rest = rows.drop_columns(list(names))
    for start, end in pairwise([*starts.tolist(), len(ids)]):
        yield keys.slice(start, 1).to_pylist()[0], rest.slice(start, end - start)
