"""Start a job in its own process and follow its run: what happens, stage by stage."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from assets.support.stages import APPLY_STEP, STAGES
from desk.desk import Desk
from desk.lock import hold_desk
from feedback.exceptions import FeedbackError
from training_worker.progress_lines import Progress

PROJECT_ROOT = Path(__file__).resolve().parents[2]
_SECONDS_BETWEEN_LOOKS = 0.3
# Errors meant to be read by a person; anything else is a bug and is shown with its log.
_USER_ERRORS = {"FeedbackError", "SourceError", "PolicyError", "TrainingError", "HarborError", "Failure"}


@dataclass
class StageSeen:
    """A stage of the run as far as it is known."""

    name: str
    state: str  # running, done, failed
    seconds: float = 0.0
    progress: Progress | None = None


@dataclass
class RunSeen:
    """What is known of a run: its stages in the order they began, warnings, and why it failed."""

    run_id: str
    log: Path
    stages: dict[str, StageSeen] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    finished: bool = False


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
    folder = desk.path / "runs" / run_id
    seen = RunSeen(run_id=run_id, log=folder / "run.log")
    # The run's process inherits the lock, so that it holds the desk even where it outlives us.
    with hold_desk(desk, run_id=run_id, job=job) as lock:
        folder.mkdir(parents=True)
        with seen.log.open("wb") as log:
            arguments = [job, run_id, *map(json.dumps, (dict(tags), config, [*stages]))]
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.launch", *arguments],
                cwd=PROJECT_ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
            )
        try:
            yield from _watch(process, seen, Path(environment["DAGSTER_HOME"]))
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0 and seen.error is None:
        tail = seen.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        seen.error = "the run ended without saying why; its log ends with:\n" + "\n".join(tail)
    seen.finished = True
    yield seen


def _watch(process: subprocess.Popen[bytes], seen: RunSeen, instance_folder: Path) -> Iterator[RunSeen]:
    """Read the run's event log until its process has ended and all is read."""
    # Relative paths in dagster.yaml are the project's, whatever folder the command was called from.
    with contextlib.chdir(PROJECT_ROOT), dg.DagsterInstance.from_config(str(instance_folder)) as instance:
        cursor: str | None = None
        while True:
            ended = process.poll() is not None
            page = instance.get_records_for_run(seen.run_id, cursor=cursor)
            cursor = page.cursor
            for record in page.records:
                _take(seen, record.event_log_entry)
            if ended and not page.has_more:
                return
            yield seen
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _check_instance(folder: Path) -> None:
    """Refuse a folder without settings: Dagster would take it, and let runs that write the record go side by side."""
    ours = PROJECT_ROOT / "dagster.yaml"
    if not (folder / "dagster.yaml").is_file():
        what = "has no dagster.yaml" if folder.is_dir() else "is no folder"
        raise FeedbackError(
            f"DAGSTER_HOME={folder} {what}; copy {ours} there, or unset DAGSTER_HOME to use the project's own instance"
        )


def _take(seen: RunSeen, entry: dg.EventLogEntry) -> None:
    """Learn from one entry of the event log."""
    event = entry.dagster_event
    if event is None:
        progress = Progress.parse(entry.user_message)
        if progress is not None and entry.step_key in seen.stages:
            seen.stages[entry.step_key].progress = progress
        return
    kind, step = event.event_type, event.step_key
    if kind is DagsterEventType.STEP_START and step in (*STAGES, APPLY_STEP):
        seen.stages[step] = StageSeen(name=step, state="running", seconds=-entry.timestamp)
    elif kind in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
        if stage := seen.stages.get(step or ""):
            stage.seconds += entry.timestamp
            stage.state = "done" if kind is DagsterEventType.STEP_SUCCESS else "failed"
        if kind is DagsterEventType.STEP_FAILURE:
            seen.error = _reason(event, seen)
    elif kind is DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if not check.passed:
            why = check.description or ", ".join(f"{name} {item.value}" for name, item in check.metadata.items())
            seen.warnings.append(f"check {check.asset_key.to_user_string()}.{check.check_name}: {why}")


def _reason(event: dg.DagsterEvent, seen: RunSeen) -> str:
    """One sentence where the failure was meant for a person, the error and where its log is otherwise."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    if error is not None and error.cls_name == "DagsterAssetCheckFailedError" and seen.warnings:
        return "stopped by " + seen.warnings.pop()
    while error is not None:
        if error.cls_name in _USER_ERRORS:
            return error.message.split(": ", 1)[-1].strip()
        error = error.cause
    innermost = data.error
    while innermost is not None and innermost.cause is not None:
        innermost = innermost.cause
    return f"{event.step_key} failed: {innermost.message.strip() if innermost else 'no error'}; see {seen.log}"
