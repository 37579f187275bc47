"""The process that a run of a job lives in: `python -m pipelines.launch JOB RUN_ID TAGS CONFIG STAGES`.

The command starts it, so that the run is the same as one started from the UI. This process writes the run's state to a
file as events come. The command reads that file, so it need not load Dagster.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

import dagster as dg
import psutil

from assets.support.stages import LEARNING
from desk.desk import Desk
from pipelines.runs.event_log import learn
from pipelines.runs.run_state import RunSeen, run_folder
from pipelines.runs.sqlite_sync import spare_the_disk
from training_worker.launcher import load_worker

# Which process a run lives in, as host:pid.
PROCESS_TAG = "feedback-kto/process"


def main() -> int:
    """Execute the job on the instance; 0 if it succeeded."""
    job, run_id, tags, config, stages = sys.argv[1:]
    from pipelines.definitions import defs

    definition, selected = defs.resolve_job_def(job), json.loads(stages)
    if LEARNING.intersection(selected or (node.name for node in definition.nodes)):
        load_worker(Desk.active())
    spare_the_disk()
    with dg.DagsterInstance.get() as instance:
        fail_dead_runs(instance)
        instance.add_event_listener(run_id, _writing(run_id))
        result = definition.execute_in_process(
            instance=instance,
            run_id=run_id,
            run_config=json.loads(config),
            asset_selection=[dg.AssetKey(name) for name in selected] or None,
            tags={**json.loads(tags), PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}"},
            raise_on_error=False,
        )
    return 0 if result.success else 1


def _writing(run_id: str) -> Callable[[dg.EventLogEntry], None]:
    """Return a listener that is called with each event of the run and writes down the run's state."""
    folder = run_folder(Desk.active().path, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    seen, one_at_a_time = RunSeen(run_id=run_id, log=folder / "run.log"), Lock()

    def take(entry: dg.EventLogEntry) -> None:
        with one_at_a_time:  # what a training worker says is logged by another thread
            if learn(seen, entry):
                with suppress(OSError):  # a full disk fails the stage that needs it, and not the view of the run
                    seen.write()

    return take


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Record runs of this machine whose process is gone as failed, so that they hold no pool; returns their ids."""
    dead = []
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(started):
        host, _, pid = run.tags.get(PROCESS_TAG, "").rpartition(":")
        if host == socket.gethostname() and not _lives(int(pid), run.run_id):
            instance.report_run_failed(run, f"process {pid} ended without a word; run the same again to finish")
            dead.append(run.run_id)
    return dead


def _lives(pid: int, run_id: str) -> bool:
    """Whether the process is still the one that was started for the run: a number is soon given to another."""
    try:
        return run_id in psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


if __name__ == "__main__":
    sys.exit(main())
