"""DuckDB connections in UTC whose queries end on Ctrl-C or a request to end, like all other code of the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType

import duckdb


@contextmanager
def connected(*, own: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection in UTC; a block creates only temporary objects in it.

    A signal handler that raises (Ctrl-C, a request to end) also ends a running query at once.

    Args:
        own: connect to a new database, for a block that changes settings; else to the one that the process shares.

    """
    with duckdb.connect() if own else _shared().cursor() as connection, _ended_by_signals(connection):
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@cache
def _shared() -> duckdb.DuckDBPyConnection:
    # Starting a DuckDB instance takes 10 ms of processor time, a cursor on it 0.1 ms.
    return duckdb.connect()


@contextmanager
def _ended_by_signals(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """End the connection's query when a signal handler raises, and re-raise the handler's exception.

    Without this, DuckDB's client waits until its other threads finish the query, however long that takes, and raises a
    RuntimeError, which would fail one step of a run and let the others go on.
    """
    if threading.current_thread() is not threading.main_thread():  # where no handler ever runs
        yield
        return
    raised: list[BaseException] = []

    def interrupting(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        try:
            if callable(handler):
                handler(number, frame)
        except BaseException as error:
            raised.append(error)
            connection.interrupt()
            raise

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Handlers that are no functions (default, ignore) end the process or do nothing; they stay as they are.
    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        signal.signal(number, interrupting)
    try:
        yield
    except RuntimeError:
        if raised:
            raise raised[0] from None
        raise
    finally:
        for number in handled:
            if signal.getsignal(number) is interrupting:
                signal.signal(number, before[number])
