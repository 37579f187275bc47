"""Replace days of a table by new rows: each part is written when it comes, and all become visible in one commit."""

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

_GROUP_ROWS: Final = 100_000  # a reader decodes these at a time
# Columns whose values hardly repeat: a dictionary would be as long as the column.
_DISTINCT: Final = frozenset(
    ("event_id", "draft_id", "ticket_id", "preferred_over", "prompt", "completion", "final_text", "extra", "evidence")
)
_ATTEMPTS: Final = 20


class Replacement:
    """Parquet files in a Delta table's folder that are not in its log before `commit`.

    Files that are written and never committed are not part of the table; the next vacuum removes them.
    """

    def __init__(self, path: Path, table: Table, days: Sequence[date]) -> None:
        self._path = path
        self._table = table
        self._days = frozenset(days)
        self._written: list[str] = []
        self._added: list[AddAction | RemoveAction] = []
        self.version: int | None = None
        """The Delta version that holds the rows, after `commit`."""

    def write(self, rows: pa.Table) -> None:
        """Write some of the rows; several threads may call this at the same time.

        Args:
            rows: columns in any order, cast to the table's schema.

        Raises:
            ValueError: a row's day is not among the days to replace.

        """
        rows = rows.select(self._table.schema.names).cast(self._table.schema)
        strays = set(rows.column(self._table.partition_by[0]).unique().to_pylist()) - self._days
        if strays:
            raise ValueError(f"{self._table.name}: rows of {sorted(strays)} are outside the days to replace")
        for values, part in _partitions(rows, self._table.partition_by):
            self._write_part(values, part)

    def _write_part(self, values: dict[str, object], rows: pa.Table) -> None:
        """Write the rows of one partition to a new file."""
        folder = "/".join(f"{name}={quote(str(value), safe='')}" for name, value in values.items())
        path = f"{folder}/part-{uuid.uuid4()}.parquet"
        (self._path / folder).mkdir(parents=True, exist_ok=True)
        # Noted before the write, so that `discard` removes what an error leaves.
        self._written.append(path)
        pq.write_table(
            rows,
            self._path / path,
            row_group_size=_GROUP_ROWS,
            use_dictionary=[field.name for field in rows.schema if field.name not in _DISTINCT],
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
        """Replace the days by the written rows, in one commit."""
        days = [day.isoformat() for day in sorted(self._days)]
        for attempt in range(_ATTEMPTS):
            stored = DeltaTable(self._path)
            try:
                stored.create_write_transaction(
                    self._added,
                    "overwrite",
                    stored.schema(),
                    partition_by=list(self._table.partition_by),
                    partition_filters=[(self._table.partition_by[0], "in", days)],
                    # Without retries the commit is the next version or fails, so its version is known.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:
                # Another run committed other days after the table was opened above; those stay unchanged.
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                self.version = stored.version() + 1
                return

    def discard(self) -> None:
        """Remove the written files."""
        for path in self._written:
            (self._path / path).unlink(missing_ok=True)


def _partitions(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], pa.Table]]:
    """Yield the rows by the values of some columns, without those columns; adjacent rows are not copied."""
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
