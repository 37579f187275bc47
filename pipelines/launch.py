"""The process that a run of a job lives in: `python -m pipelines.launch JOB RUN_ID TAGS`.

The command starts it and follows the run through the instance's event log, as the Dagster UI does, so that the
command's terminal is its own and the run is the same as one started from the UI.
"""

from __future__ import annotations

import json
import sys

import dagster as dg


def main() -> int:
    """Execute the job on the instance; 0 if it succeeded."""
    job, run_id, tags = sys.argv[1:]
    from pipelines.definitions import defs

    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance, run_id=run_id, tags=json.loads(tags), raise_on_error=False
        )
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
