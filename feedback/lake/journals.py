"""Journals: lake tables that are only appended to, one commit a run, with few enough files to read fast at any time.

Every commit adds a file of a few kilobytes, and a thousand of those take seconds to read. So an append compacts the
table into one file once it has many; the rows do not change.
"""

from __future__ import annotations

import fcntl

import pyarrow as pa
from deltalake import DeltaTable

from feedback.lake.delta import Lake, Table

# Measured with 30 rows a commit: a query takes about 2 ms a file, compacting 32 files 40 ms once in 32 commits.
MOST_FILES = 32


def append(lake: Lake, table: Table, rows: pa.Table) -> None:
    """Add `rows` to the journal `table` in one commit; without rows, nothing is written."""
    if rows.num_rows == 0:
        return
    if len(lake.append(table, rows).file_uris()) >= MOST_FILES:
        _compact(lake, table)


def _compact(lake: Lake, table: Table) -> None:
    """Compact the files into one, and delete files that the table has not used for a week.

    If two runs compact at once, delta-rs 1.6 commits both and every row is there twice: hence the lock. Appends need
    none.
    """
    with (lake.root / f".{table.name}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another run is compacting
        stored = DeltaTable(lake.path(table))
        stored.optimize.compact()
        stored.vacuum(dry_run=False)
