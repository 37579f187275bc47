"""Running a job for the command: shown while it runs, and ended in its own reason where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from assets.desk import Desk
from feedback.exceptions import FeedbackError


def run_job(desk: Desk, job: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Run a job on the desk while showing it on stderr.

    Args:
        desk: the one to run on.
        job: one of `pipelines.jobs.JOBS`, by name.
        tags: the run's.
        config: the run's, where the job has any.

    Returns:
        Seconds by stage.

    Raises:
        FeedbackError: the run failed; the message is its own reason.

    """
    # Here, since Dagster takes a second to load and most commands do without it.
    from pipelines.follow import follow
    from pipelines.view import show_run

    console = Console(stderr=True)
    seen = show_run(follow(desk, job, tags, config), console)
    for warning in seen.warnings:
        console.print(f"[yellow]![/] {warning}", highlight=False, soft_wrap=True)
    if seen.error is not None:
        raise FeedbackError(seen.error)
    return {stage.name: stage.seconds for stage in seen.stages.values()}
