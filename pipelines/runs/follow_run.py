"""Start a job in its own process and follow its run: what happens, stage by stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from desk.desk import Desk
from desk.lock import hold_desk
from feedback.exceptions import FeedbackError
from pipelines.runs.run_state import RunSeen, run_folder

PROJECT_ROOT = Path(__file__).resolve().parents[2]
RUN = (sys.executable, "-m", "pipelines.launch")
"""The command that a run's process is started by."""
_SECONDS_BETWEEN_LOOKS = 0.1


def project_environment(home: Path, desk: str) -> dict[str, str]:
    """The environment of a process that loads the definitions: this home and desk, and this project's instance."""
    return {
        **os.environ,
        "FEEDBACK_HOME": str(home),
        "FEEDBACK_DESK": desk,
        "DAGSTER_HOME": str(Path(os.environ.get("DAGSTER_HOME") or PROJECT_ROOT).absolute()),
        "PYTHONWARNINGS": "ignore",
    }


def follow(
    desk: Desk,
    job: str,
    tags: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    stages: Sequence[str] = (),
) -> Iterator[RunSeen]:
    """Run `job`, with its run `config`, on the desk and yield what is known, often, until it has ended.

    Of an asset job only the `stages` are made, where some are named.
    Interrupting the generator interrupts the run; the lake keeps its last commits, and running again finishes it.

    Raises:
        FeedbackError: another run holds the desk, or DAGSTER_HOME is no instance's folder.
    """
    environment = project_environment(desk.home, desk.name)
    _check_instance(Path(environment["DAGSTER_HOME"]))
    run_id = str(uuid.uuid4())
    folder = run_folder(desk.path, run_id)
    seen = RunSeen(run_id=run_id, log=folder / "run.log")
    # The run's process inherits the lock, so that it holds the desk even where it outlives us.
    with hold_desk(desk, run_id=run_id, job=job) as lock:
        folder.mkdir(parents=True)
        with seen.log.open("wb") as log:
            arguments = [job, run_id, *map(json.dumps, (dict(tags), config, [*stages]))]
            process = subprocess.Popen(
                [*RUN, *arguments],
                cwd=PROJECT_ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
            )
        try:
            yield from _watch(process, seen)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0 and seen.error is None:
        tail = seen.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        seen.error = "the run ended without saying why; its log ends with:\n" + "\n".join(tail)
    seen.finished = True
    yield seen


def _watch(process: subprocess.Popen[bytes], seen: RunSeen) -> Iterator[RunSeen]:
    """Read what the run's process writes of the run until it has ended."""
    ended = False
    while not ended:
        ended = process.poll() is not None  # asked before reading: all that was written by then is read
        seen.read()
        yield seen
        time.sleep(0 if ended else _SECONDS_BETWEEN_LOOKS)


def _check_instance(folder: Path) -> None:
    """Refuse a folder without settings: Dagster would take it, and let runs that write the record go side by side."""
    ours = PROJECT_ROOT / "dagster.yaml"
    if not (folder / "dagster.yaml").is_file():
        what = "has no dagster.yaml" if folder.is_dir() else "is no folder"
        raise FeedbackError(
            f"DAGSTER_HOME={folder} {what}; copy {ours} there, or unset DAGSTER_HOME to use the project's own instance"
        )
