"""The process that a run of a job lives in: `python -m pipelines.launch JOB RUN_ID TAGS`.

The command starts it and follows the run through the instance's event log, as the Dagster UI does, so that the
command's terminal is its own and the run is the same as one started from the UI.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import dagster as dg

# Which process a run lives in, as host:pid.
PROCESS_TAG = "feedback-kto/process"


def main() -> int:
    """Execute the job on the instance; 0 if it succeeded."""
    job, run_id, tags = sys.argv[1:]
    from pipelines.definitions import defs

    with dg.DagsterInstance.get() as instance:
        fail_dead_runs(instance)
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_id=run_id,
            tags={**json.loads(tags), PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}"},
            raise_on_error=False,
        )
    return 0 if result.success else 1


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Record runs of this machine whose process is gone as failed, so that they hold no pool; returns their ids."""
    dead = []
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(started):
        host, _, pid = run.tags.get(PROCESS_TAG, "").rpartition(":")
        if host == socket.gethostname() and not Path(f"/proc/{pid}").exists():
            instance.report_run_failed(run, f"process {pid} ended without a word; run the same again to finish")
            dead.append(run.run_id)
    return dead


if __name__ == "__main__":
    sys.exit(main())
