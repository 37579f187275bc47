"""Connections to DuckDB."""

import os
import signal
import threading

import pytest

from feedback.database import connected


@pytest.mark.parametrize("own", [False, True])
def test_ctrl_c_during_a_query_ends_what_runs_it(own: bool) -> None:
    with pytest.raises(KeyboardInterrupt), connected(own=own) as connection:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        connection.execute("SELECT count(*) FROM range(100000000000) t(i) WHERE i % 3 = 7").fetchall()
