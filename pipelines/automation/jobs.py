"""The jobs: which stages run together."""

from __future__ import annotations

from typing import Any, Final

import dagster as dg

from assets.support.common import DAYS
from assets.support.stages import DAY_STAGES, STAGES
from pipelines.automation.apply_policy_job import apply_policy

# The learning stages run in processes of their own. One process is enough for the rest, and saves a start per stage.
_EXECUTOR = dg.in_process_executor

STAGES_OF_DAYS: Final = {
    "nightly_retrain": STAGES,
    "ingest_logs": DAY_STAGES,
    "refresh": DAY_STAGES[1:],
    "relabel": ("labels",),
}
"""The jobs over a range of days, with the stages that each runs."""


def _job_of_days(name: str, description: str) -> Any:  # noqa: ANN401 - Dagster's unresolved job has no public type
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*STAGES_OF_DAYS[name]),
        partitions_def=DAYS,
        executor_def=_EXECUTOR,
        description=description,
    )


nightly_retrain = _job_of_days(
    "nightly_retrain", "Everything, from the raw logs of a range of days to a release; scheduled every night."
)
ingest_logs = _job_of_days("ingest_logs", "Raw logs to labels for a range of days; started when log files arrive.")
refresh = _job_of_days(
    "refresh", "Build a range of days again from the events at hand; started after later feedback or time touched them."
)
relabel = _job_of_days("relabel", "Label a range of days again in one run, after the policy changed.")
retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(*STAGES[len(DAY_STAGES) :]),
    executor_def=_EXECUTOR,
    description="From the labels at hand: their measured quality, a training set, and a release from it.",
)

JOBS: Final[list[Any]] = [nightly_retrain, ingest_logs, refresh, relabel, apply_policy, retrain]
