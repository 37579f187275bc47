"""DuckDB connections: in UTC, and ended by Ctrl-C or a request to end, like everything else in the process."""

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
    """A connection in UTC; what a block makes in it is temporary.

    A signal that raises (Ctrl-C, a request to end) does so out of a running query too, at once.

    Args:
        own: to a database of its own, for a block that changes settings; else to the one that the process shares.

    """
    with duckdb.connect() if own else _shared().cursor() as connection, _ended_by_signals(connection):
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@cache
def _shared() -> duckdb.DuckDBPyConnection:
    # An instance of DuckDB takes 10 ms of processor time to start, a cursor of one 0.1 ms.
    return duckdb.connect()


@contextmanager
def _ended_by_signals(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Have what signal handlers raise end the connection's query.

    Left alone, DuckDB's client waits until its other threads have run the query to its end, however long that takes,
    and raises a RuntimeError, which would fail one step of a run and let the others go on.
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
    # What is not a function (the default, ignored) ends the process or nothing: both as they do without us.
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
