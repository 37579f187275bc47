"""Find the lines on which a mapping's SQL fails, and the column, by bisection of the day's lines."""

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
"""With more failing lines in a day, the fault is the mapping's and not the log's."""

NOT_THE_DATA: Final = (
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.IOException,
)
"""Errors of DuckDB that no line of the log causes."""


def quarantine_failing_lines(
    connection: duckdb.DuckDBPyConnection, source: Source, arrival_date: date, columns: Mapping[str, str]
) -> int:
    """Set `fault` on each of the day's lines that the view `mapping` fails on alone; return how many.

    The result is 0 if the mapping does not fail. A line that needs its neighbours also fails alone and is quarantined
    too; but no line is quarantined on a day on which the mapping does not fail.

    Raises:
        SourceError: too many lines fail, or the mapping fails on the lines together and on none alone.
    """
    probe = _Probe(connection, arrival_date, columns)
    failing = list(islice(probe.failing_lines(), MOST_FAILING_LINES + 1))
    show_lines(connection, arrival_date)
    if not failing:
        error = probe.fails(columns)
        if error is not None:
            raise SourceError(
                f"Source {source.path} fails on the lines that arrived on {arrival_date} together, and on none "
                f"alone: {_first_line(error)}."
            ) from error
        return 0
    if len(failing) > MOST_FAILING_LINES:
        ordinal, fault = failing[0]
        file, line = connection.execute("SELECT file, line FROM day_lines WHERE ordinal = ?", [ordinal]).fetchall()[0]
        raise SourceError(
            f"Source {source.path} fails on more than {MOST_FAILING_LINES} lines that arrived on {arrival_date}, "
            f"first on {file} line {line}: {fault}; "
            f"let the mapping accept such lines (TRY_CAST gives null), or correct the log."
        )
    connection.executemany("UPDATE day_lines SET fault = ? WHERE ordinal = ?", [(f, o) for o, f in failing])
    return len(failing)


class _Probe:
    """Runs the mapping on a range of lines and drops its rows."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, arrival_date: date, columns: Mapping[str, str]) -> None:
        self._connection = connection
        self._arrival_date = arrival_date
        self._columns = list(columns)

    def failing_lines(self) -> Iterator[tuple[int, str]]:
        """Yield (ordinal, what fails) of the lines that fail alone, in order.

        A failing range is halved until one line is left. A range that fails although neither half does (the mapping
        reads across lines) has no failing line, and yields nothing.
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
        """Return the error of computing the columns over the shown lines, or None."""
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
        """Return the fault of the shown line, with the failing column; without one if all columns fail."""
        failing = [(name, error) for name in self._columns if (error := self.fails([name])) is not None]
        if not failing:  # the columns fail only together, so none is named
            error = self.fails(self._columns)
            return f"mapping: {_first_line(error)}"
        name, error = failing[0]
        where = "mapping" if len(failing) == len(self._columns) else f"mapping: {name}"
        return f"{where}: {_first_line(error)}"


def _first_line(error: duckdb.Error | None) -> str:
    return str(error).splitlines()[0].rstrip(".!")
