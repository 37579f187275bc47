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

    Where it is held for the same run already, by the process that started this one, the block runs, too.

    Args:
        desk: whose record the run writes.
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
    """Hold the lock of a file while the block runs, with who holds it written there.

    Args:
        path: of the file; made if missing.
        who: what others are to be told, besides `process`, `host` and `since`.
        refuse: given what the holder wrote, empty in the instant in which it is taken: the error to raise, or None
            where the block may run all the same.

    """
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            said = lock.read()
            refusal = refuse(json.loads(said) if said else {})
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
