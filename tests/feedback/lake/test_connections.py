"""Connections to DuckDB."""

import os
import signal
import threading
import time

import pytest

from feedback.lake.connections import connected


@pytest.mark.parametrize("own", [False, True])
def test_ctrl_c_during_a_query_ends_what_runs_it_at_once(own: bool) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), connected(own=own) as connection:
        # A table, so that every thread has a part of the work: without an interrupt, the others finish the query.
        connection.execute("CREATE TABLE numbers AS SELECT i FROM range(2_000_000) t(i)")
        begun = time.monotonic()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        connection.execute("SELECT count(*) FROM numbers, range(10000) t(i) WHERE hash(numbers.i, t.i) = 7").fetchall()
    assert time.monotonic() - begun < 10
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_request_to_end_raises_what_its_handler_raises() -> None:
    class Asked(BaseException):
        pass

    def ask(*_: object) -> None:
        raise Asked

    before = signal.signal(signal.SIGTERM, ask)
    try:
        with pytest.raises(Asked), connected() as outer, connected() as connection:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            connection.execute("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 3 = 7").fetchall()
        assert signal.getsignal(signal.SIGTERM) is ask
        assert outer is not connection
    finally:
        signal.signal(signal.SIGTERM, before)
