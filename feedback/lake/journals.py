"""Journals: lake tables that are only ever appended to, a commit a run, and kept small enough to read at any time.

Every commit leaves a file of a few kilobytes, and a thousand of those take seconds to read. So an append that finds
many gathers them into one; the rows stay as they are.
"""

from __future__ import annotations

import fcntl

import pyarrow as pa
from deltalake import DeltaTable

from feedback.lake.delta import Lake, Table

# Measured with 30 rows a commit: a query takes about 2 ms a file, gathering 32 files 40 ms once in 32 commits.
MOST_FILES = 32


def append(lake: Lake, table: Table, rows: pa.Table) -> None:
    """Add `rows` to the journal `table` in one commit; without rows, nothing is written."""
    if rows.num_rows == 0:
        return
    if len(lake.append(table, rows).file_uris()) >= MOST_FILES:
        _gather(lake, table)


def _gather(lake: Lake, table: Table) -> None:
    """Make one file of many, and delete what has been out of use for a week.

    Of two runs that gather at once, delta-rs 1.6 commits both, and every row is there twice: hence the lock. Appending
    needs none.
    """
    with (lake.root / f".{table.name}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another run is at it
        stored = DeltaTable(lake.path(table))
        stored.optimize.compact()
        stored.vacuum(dry_run=False)
