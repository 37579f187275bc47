"""DuckDB connections: in UTC, and ended by Ctrl-C or a request to end, like everything else in the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

import duckdb

# All that DuckDB's Python client says of a signal that came while a query ran.
_INTERRUPTED: Final = "Query interrupted"


@contextmanager
def connected(*, own: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in UTC; what a block makes in it is temporary.

    Args:
        own: to a database of its own, for a block that changes settings; else to the one that the process shares.

    Raises:
        KeyboardInterrupt: in the block, a query ran when the process was asked to end. DuckDB's client raises a
            RuntimeError, which would fail one step of a run and let the others go on.

    """
    with duckdb.connect() if own else _shared().cursor() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            yield connection
        except RuntimeError as error:
            if str(error) == _INTERRUPTED:
                raise KeyboardInterrupt from error
            raise


@cache
def _shared() -> duckdb.DuckDBPyConnection:
    # An instance of DuckDB takes 10 ms of processor time to start, a cursor of one 0.1 ms.
    return duckdb.connect()
