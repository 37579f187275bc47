"""Filter and sort Arrow rows with long texts, without a copy of the texts where possible."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa

_STRETCHES: Final = 500


def without_rows(rows: pa.Table, positions: np.ndarray) -> pa.Table:
    """Return the rows except those at `positions` (ascending); with few positions, as slices of the same memory."""
    if len(positions) > _STRETCHES:
        keep = np.ones(rows.num_rows, dtype=bool)
        keep[positions] = False
        return rows.filter(pa.array(keep))
    edges = pairwise([-1, *positions.tolist(), rows.num_rows])
    stretches = [rows.slice(left + 1, right - left - 1) for left, right in edges if right - left > 1]
    return pa.concat_tables([rows.slice(0, 0), *stretches])


def by_line(rows: pa.Table) -> pa.Table:
    """Return the rows, one a line, ordered by `line`; DuckDB returns the rows of one thread after those of another."""
    line = rows.column("line").to_numpy()
    if bool(np.all(line[1:] > line[:-1])):
        return rows
    starts = np.flatnonzero(np.diff(line, prepend=line[0]) != 1)
    if len(starts) > _STRETCHES:
        return rows.take(pa.array(np.argsort(line)))
    ends = np.append(starts[1:], len(line))
    return pa.concat_tables(rows.slice(starts[run], ends[run] - starts[run]) for run in np.argsort(line[starts]))
