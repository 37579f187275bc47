"""The desk's lock: one run at a time writes a desk's record.

Dagster's pool `lake` keeps queued runs apart, and lets them wait for the command's runs too. It does not hold back runs
that are not queued: the command's own, and those of `dg launch`. Two such runs would decide at once which of two
deliveries of an event is the duplicate, and each would find none. So every run that writes takes the lock as well: a
file that the operating system unlocks when its last holder ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from desk.desk import Desk
from feedback.exceptions import FeedbackError

_FILE = ".lock"


@contextmanager
def hold_desk(desk: Desk, *, run_id: str, job: str) -> Iterator[IO[str]]:
    """Hold the desk for one run while the block runs; a process that inherits the open file holds it as well.

    The block also runs where the process that started this one holds the desk for the same run.

    Args:
        desk: the desk whose record the run writes.
        run_id: Dagster's id of the run.
        job: name of the run's job, for those who must wait.

    Raises:
        FeedbackError: another run holds the desk; the message says which, and since when.

    """
    _ = desk.settings  # raises where there is no such desk

    def refuse(holder: Mapping[str, Any]) -> FeedbackError | None:
        if holder.get("run") == run_id:
            return None
        return FeedbackError(
            f"another run of desk {desk.name} is under way{_who(holder)}; wait for it, then run this again"
        )

    with hold_file(desk.path / _FILE, {"run": run_id, "job": job}, refuse=refuse) as lock:
        yield lock


@contextmanager
def hold_file(
    path: Path, who: Mapping[str, Any], *, refuse: Callable[[Mapping[str, Any]], FeedbackError | None]
) -> Iterator[IO[str]]:
    """Hold the lock of a file while the block runs, and write its holder there.

    Args:
        path: the file; created if missing.
        who: fields about the holder for others, besides `process`, `host` and `since`.
        refuse: returns the error to raise, or None where the block may run all the same. Its argument is what the
            holder wrote, which is empty in the instant in which the lock is taken.

    """
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read()
            refusal = refuse(json.loads(holder) if holder else {})
            if refusal is not None:
                raise refusal from error
            yield lock
            return
        since = datetime.now(UTC).isoformat(timespec="seconds")
        lock.truncate(0)
        lock.write(json.dumps({**who, "process": os.getpid(), "host": socket.gethostname(), "since": since}))
        lock.flush()
        yield lock
        lock.truncate(0)


def _who(holder: Mapping[str, Any]) -> str:
    if not holder:
        return ""
    return (
        f": {holder['job']} {holder['run']}, since {holder['since']}, by process {holder['process']} on "
        f"{holder['host']}"
    )
