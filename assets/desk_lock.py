"""One run at a time writes a desk's record: the desk's lock, and who holds it.

Dagster's pool `lake` keeps the runs that it queues apart, and lets them wait for the command's, too. It says nothing to
those that are not queued: the command's own, and `dg launch`'s. Two such runs would settle at once which of two
deliveries of an event is the duplicate, and each would find none. So whoever writes takes the lock as well: a file
that the operating system unlocks when its last holder ends, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

from assets.desk import Desk
from feedback.exceptions import FeedbackError

_FILE = ".lock"


@contextmanager
def hold_desk(desk: Desk, *, run_id: str, job: str) -> Iterator[IO[str]]:
    """Hold the desk for one run while the block runs; a process that inherits the open file holds it as well.

    Where it is held for the same run already, by the process that started this one, the block runs, too.

    Args:
        desk: whose record the run writes.
        run_id: Dagster's id of the run.
        job: name of the run's job, for those who must wait.

    Raises:
        FeedbackError: another run holds the desk; the message says which, and since when.

    """
    _ = desk.settings  # raises where there is no such desk
    with (desk.path / _FILE).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            said = lock.read()
            if said and json.loads(said)["run"] == run_id:
                yield lock
                return
            raise FeedbackError(
                f"another run of desk {desk.name} is under way{_who(said)}; wait for it, then run this again"
            ) from error
        since = datetime.now(UTC).isoformat(timespec="seconds")
        who = {"run": run_id, "job": job, "process": os.getpid(), "host": socket.gethostname(), "since": since}
        lock.truncate(0)
        lock.write(json.dumps(who))
        lock.flush()
        yield lock
        lock.truncate(0)


def _who(said: str) -> str:
    """Who holds it; nothing in the instant in which it is taken."""
    if not said:
        return ""
    who = json.loads(said)
    return f": {who['job']} {who['run']}, since {who['since']}, by process {who['process']} on {who['host']}"
