"""The lake: one Delta table a stage, replaced by whole partitions in one commit.

A partition is the unit of truth: a stage computes all rows of the days it was asked for and replaces exactly those
days, so that running it again changes nothing and an interrupted run leaves the last commit readable.
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

# Delta would forget after 30 days how a table was then, and a replay reads that.
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a lake table holds: its Arrow schema, and the columns that part it, the day first (none: one part)."""

    name: str
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()


class Lake:
    """The Delta tables of one desk, under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: Table) -> Path:
        """Where the table lies."""
        return self.root / table.name

    def exists(self, table: Table) -> bool:
        """Whether the table has been written at least once."""
        return bool(DeltaTable.is_deltatable(str(self.path(table))))

    def stored(self, table: Table, *, version: int | None = None) -> DeltaTable:
        """The Delta table that is read, now or as of a `version`.

        Raises:
            FeedbackError: its log cannot be read, or not as far back as that.

        """
        return self._open(table, version)

    def folders(self) -> list[Path]:
        """Where tables that are read may lie."""
        return sorted(self.root.glob("*/"))

    def version(self, table: Table) -> int | None:
        """The table's current Delta version, or None before its first commit."""
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
            ValueError: rows of a day that was not to be replaced.

        """
        if table.partition_by:
            with self.replacing(table, days or []) as replacement:
                replacement.write(rows)
            return self.stored(table).version()
        return self._written(table, rows, "overwrite").version()

    @contextmanager
    def replacing(self, table: Table, days: Sequence[date]) -> Iterator[Replacement]:
        """Replace the partitions of `days` by what the block writes, in one commit at its end; none if it raises.

        Only what is being written is held in memory.
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
        """Add `rows` to a table that is a journal, in one commit; returns the table that holds them."""
        return self._written(table, rows, "append")

    def dataset(self, table: Table, *, version: int | None = None) -> pads.Dataset:
        """The table, now or as of a Delta `version`, as an Arrow dataset that reads only what a query asks for.

        It has all the table's columns; those that came later are null in the rows of an earlier release.
        """
        if not self.exists(table):
            return pads.InMemoryDataset(table.schema.empty_table())
        return self.stored(table, version=version).to_pyarrow_dataset().replace_schema(table.schema)

    def _open(self, table: Table, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self.path(table), version=version)
        except (DeltaError, OSError) as error:
            said = " ".join(str(error).split())
            raise FeedbackError(
                f"{self.path(table)} cannot be read as a Delta table ({said}); restore it from a copy"
            ) from error

    def _writable(self, table: Table) -> DeltaTable:
        """The Delta table, made where there is none yet, with all columns of `table`."""
        if not self.exists(table):
            DeltaTable.create(
                self.path(table),
                schema=table.schema,
                partition_by=list(table.partition_by),
                mode="ignore",
                configuration=_CONFIGURATION,
            )
        stored = self._open(table)
        known = {field.name for field in stored.schema().fields}
        missing = [field for field in Schema.from_arrow(table.schema).fields if field.name not in known]
        if missing:
            stored.alter.add_columns(missing)
        return stored

    def _written(self, table: Table, rows: pa.Table, mode: Literal["append", "overwrite"]) -> DeltaTable:
        stored = self._writable(table)
        write_deltalake(stored, rows.select(table.schema.names).cast(table.schema), mode=mode)
        return stored

    @contextmanager
    def sql(self, *tables: Table, **relations: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
        """A DuckDB connection in UTC that sees `tables` by their names and the Arrow `relations` by theirs.

        It shares its database, memory and settings with the process's other ones: what a block makes in it is
        temporary, and a block that needs a setting takes `scanning.spilling`.

        Raises:
            FeedbackError: in the block, a file of the lake could not be read; the message names it.

        """
        with connected() as connection, self.naming_damage():
            for table in tables:
                connection.register(table.name, self.dataset(table))
            for name, relation in relations.items():
                connection.register(name, relation)
            yield connection

    @contextmanager
    def naming_damage(self) -> Iterator[None]:
        """In the block, a file of the lake that cannot be read is a FeedbackError that names it."""
        try:
            yield
        except READ_ERRORS as error:
            damage = name_damage(self.folders())
            if damage is None:
                raise
            raise damage from error
