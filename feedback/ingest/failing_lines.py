"""Which lines make a mapping's SQL fail, and in which column: by running it on ever fewer of the day's lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Final

import duckdb

from feedback.exceptions import SourceError
from feedback.ingest.bind import show_lines
from feedback.sources.source import Source

MOST_FAILING_LINES: Final = 100
"""Failing lines of a day beyond which the mapping is to blame, and not the log."""

NOT_THE_DATA: Final = (
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.IOException,
)
"""Errors of DuckDB that no line of the log is to blame for."""


def quarantine_failing_lines(
    connection: duckdb.DuckDBPyConnection, source: Source, arrival_date: date, columns: Mapping[str, str]
) -> int:
    """Set `fault` on the day's lines that the view `mapping` fails on, each by itself; return how many.

    None means that the mapping does not fail. A line that cannot do without its neighbours fails by itself too, and
    goes with them: but nothing is taken from a day on which the mapping does not fail.

    Raises:
        SourceError: there are too many of them, or it fails on the lines together and on none by itself.
    """
    probe = _Probe(connection, arrival_date, columns)
    found = list(islice(probe.failing_lines(), MOST_FAILING_LINES + 1))
    show_lines(connection, arrival_date)
    if not found:
        error = probe.fails(columns)
        if error is not None:
            raise SourceError(
                f"Source {source.path} fails on the lines that arrived on {arrival_date} together, and on none by "
                f"itself: {_first_line(error)}."
            ) from error
        return 0
    if len(found) > MOST_FAILING_LINES:
        ordinal, fault = found[0]
        file, line = connection.execute("SELECT file, line FROM day_lines WHERE ordinal = ?", [ordinal]).fetchall()[0]
        raise SourceError(
            f"Source {source.path} fails on more than {MOST_FAILING_LINES} lines that arrived on {arrival_date}, "
            f"first on {file} line {line}: {fault}; "
            f"let the mapping take such lines (TRY_CAST gives null), or mend the log."
        )
    connection.executemany("UPDATE day_lines SET fault = ? WHERE ordinal = ?", [(f, o) for o, f in found])
    return len(found)


class _Probe:
    """Runs the mapping on a range of lines, without keeping what it returns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, arrival_date: date, columns: Mapping[str, str]) -> None:
        self._connection = connection
        self._arrival_date = arrival_date
        self._columns = list(columns)

    def failing_lines(self) -> Iterator[tuple[int, str]]:
        """Yield (ordinal, what fails) of the lines that fail by themselves, in order.

        Halves a failing range until one line is left. A range that fails although neither half does (the mapping
        looks across lines) has no line to blame, and yields nothing.
        """
        ((first, last),) = self._connection.execute("SELECT min(ordinal), max(ordinal) FROM day_lines").fetchall()
        ranges = [(first, last)]
        while ranges:
            low, high = ranges.pop()
            self._show(low, high)
            if self.fails(self._columns) is None:
                continue
            if low == high:
                yield low, self._fault()
            else:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]

    def fails(self, columns: Iterable[str]) -> duckdb.Error | None:
        """Return the error, if computing the columns over the lines shown gives one."""
        hashes = ", ".join(f'bit_xor(hash("{name}"))' for name in columns)
        try:
            self._connection.execute(f"SELECT {hashes} FROM mapping").fetchall()
        except NOT_THE_DATA:
            raise
        except duckdb.Error as error:
            return error
        return None

    def _show(self, low: int, high: int) -> None:
        show_lines(self._connection, self._arrival_date, f"ordinal BETWEEN {low} AND {high}")

    def _fault(self) -> str:
        """Say which column fails on the line shown; a column that needs nothing else tells whether all do."""
        failing = [(name, error) for name in self._columns if (error := self.fails([name])) is not None]
        if not failing:  # only together: name them all
            error = self.fails(self._columns)
            return f"mapping: {_first_line(error)}"
        name, error = failing[0]
        where = "mapping" if len(failing) == len(self._columns) else f"mapping: {name}"
        return f"{where}: {_first_line(error)}"


def _first_line(error: duckdb.Error | None) -> str:
    return str(error).splitlines()[0].rstrip(".!")
