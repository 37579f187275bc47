"""Running a job for the command: shown while it runs, and ended in its own reason where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from desk.desk import Desk
from feedback.exceptions import FeedbackError
from pipelines.output.command_output import commands


class RunStoppedError(FeedbackError):
    """A run failed for its own reason, after some of its stages."""

    def __init__(self, reason: str, *, done: Sequence[str]) -> None:
        super().__init__(reason)
        self.done = done


def run_job(
    desk: Desk,
    job: str,
    tags: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    stages: Sequence[str] = (),
) -> dict[str, float]:
    """Run a job on the desk while showing it on stderr.

    Args:
        desk: the one to run on.
        job: one of `pipelines.automation.jobs.JOBS`, by name.
        tags: the run's.
        config: the run's, where the job has any.
        stages: those of an asset job that are to be made; all where none is named.

    Returns:
        Seconds by stage.

    Raises:
        RunStoppedError: the run failed; the message is its own reason.

    """
    # Here, so that commands that start no run do not load it.
    from pipelines.runs.follow_run import follow
    from pipelines.runs.run_view import show_run

    console = Console(stderr=True)
    seen = show_run(follow(desk, job, tags, config, stages), console)
    for warning in seen.warnings:
        console.print(f"[yellow]![/] {commands(warning)}", highlight=False, soft_wrap=True)
    if seen.error is not None:
        raise RunStoppedError(seen.error, done=[stage.name for stage in seen.stages.values() if stage.state == "done"])
    return {stage.name: stage.seconds for stage in seen.stages.values()}
