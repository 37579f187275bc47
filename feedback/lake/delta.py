"""The lake: one Delta table a stage, replaced by whole partitions in one commit.

A stage computes all rows of its days and replaces exactly those days' partitions. So running it again changes nothing,
and an interrupted run leaves the last commit readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, Schema, write_deltalake
from deltalake.exceptions import DeltaError

from feedback.exceptions import FeedbackError
from feedback.lake.arrow_datasets import pads
from feedback.lake.connections import connected
from feedback.lake.damage import READ_ERRORS, name_damage
from feedback.lake.replacement import Replacement

# By default Delta drops a table's past versions from its log after 30 days, and a replay reads them.
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A lake table: its Arrow schema, and its partition columns, the day first (none: it is not partitioned)."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()


class Lake:
    """The Delta tables of one desk, under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: Table) -> Path:
        """Return the table's folder."""
        return self.root / table.name

    def exists(self, table: Table) -> bool:
        """Return whether the table has been written at least once."""
        return bool(DeltaTable.is_deltatable(str(self.path(table))))

    def stored(self, table: Table, *, version: int | None = None) -> DeltaTable:
        """Return the Delta table to read, now or as of a `version`.

        Raises:
            FeedbackError: its log cannot be read, or does not go back to that version.

        """
        return self._open(table, version)

    def folders(self) -> list[Path]:
        """Return the folders that the tables can be in."""
        return sorted(self.root.glob("*/"))

    def version(self, table: Table) -> int | None:
        """Return the table's current Delta version, or None before its first commit."""
        return self.stored(table).version() if self.exists(table) else None

    def replace(self, table: Table, rows: pa.Table, days: Sequence[date] | None = None) -> int:
        """Replace the partitions of `days` (the whole table where it has no partitions) by `rows`, in one commit.

        Args:
            table: the table to write; created on first use.
            rows: all rows of those days; columns in any order, cast to the table's schema.
            days: values of the first partition column; days without rows become empty.

        Returns:
            The Delta version that holds the rows.

        Raises:
            ValueError: a row's day is not among `days`.

        """
        if table.partition_by:
            with self.replacing(table, days or []) as replacement:
                replacement.write(rows)
            return self.stored(table).version()
        return self._written(table, rows, "overwrite").version()

    @contextmanager
    def replacing(self, table: Table, days: Sequence[date]) -> Iterator[Replacement]:
        """Replace the partitions of `days` by the rows that the block writes, in one commit at its end.

        If the block raises, nothing is committed. Only the rows of the running writes are in memory.
        """
        self._writable(table)
        replacement = Replacement(self.path(table), table, days)
        try:
            yield replacement
            if days:
                replacement.commit()
        except BaseException:
            replacement.discard()
            raise

    def append(self, table: Table, rows: pa.Table) -> DeltaTable:
        """Add `rows` to a journal table in one commit; return the table that holds them."""
        return self._written(table, rows, "append")

    def dataset(self, table: Table, *, version: int | None = None) -> pads.Dataset:
        """Return the table, now or as of a Delta `version`, as an Arrow dataset that reads only what a query needs.

        It has all the table's columns; newer ones are null in the rows of an earlier release.
        """
        if not self.exists(table):
            return pads.InMemoryDataset(table.schema.empty_table())
        return self.stored(table, version=version).to_pyarrow_dataset().replace_schema(table.schema)

    def _open(self, table: Table, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self.path(table), version=version)
        except (DeltaError, OSError) as error:
            message = " ".join(str(error).split())
            raise FeedbackError(
                f"{self.path(table)} cannot be read as a Delta table ({message}); restore it from a copy"
            ) from error

    def _writable(self, table: Table) -> DeltaTable:
        """Return the Delta table with all columns of `table`; create it, or add the columns, if missing."""
        if not self.exists(table):
            DeltaTable.create(
                self.path(table),
                schema=table.schema,
                partition_by=list(table.partition_by),
                mode="ignore",
                configuration=_CONFIGURATION,
            )
        stored = self._open(table)
        columns = {field.name for field in stored.schema().fields}
        missing = [field for field in Schema.from_arrow(table.schema).fields if field.name not in columns]
        if missing:
            stored.alter.add_columns(missing)
        return stored

    def _written(self, table: Table, rows: pa.Table, mode: Literal["append", "overwrite"]) -> DeltaTable:
        stored = self._writable(table)
        write_deltalake(stored, rows.select(table.schema.names).cast(table.schema), mode=mode)
        return stored

    @contextmanager
    def sql(self, *tables: Table, **relations: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a DuckDB connection in UTC that sees `tables` and the Arrow `relations` by their names.

        It shares its database, memory and settings with the process's other connections. A block creates only
        temporary objects in it; a block that needs a setting takes `feedback.lake.parquet_scan.spilling`.

        Raises:
            FeedbackError: the block could not read a file of the lake; the message names it.

        """
        with connected() as connection, self.naming_damage():
            for table in tables:
                connection.register(table.name, self.dataset(table))
            for name, relation in relations.items():
                connection.register(name, relation)
            yield connection

    @contextmanager
    def naming_damage(self) -> Iterator[None]:
        """Turn the block's error on an unreadable file of the lake into a FeedbackError that names the file."""
        try:
            yield
        except READ_ERRORS as error:
            damage = name_damage(self.folders())
            if damage is None:
                raise
            raise damage from error
