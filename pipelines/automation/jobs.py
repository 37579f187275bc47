"""The jobs: what is run together."""

from __future__ import annotations

from typing import Any

import dagster as dg

from assets import STAGES
from assets.support.common import DAYS
from pipelines.automation.apply_policy_job import apply_policy

# The learning stages run in processes of their own, so one process is enough for the rest, and saves a start a stage.
_EXECUTOR = dg.in_process_executor
_RECORD = ("feedback_events", "interactions", "labels")

nightly_retrain = dg.define_asset_job(
    "nightly_retrain",
    selection=dg.AssetSelection.all(),
    partitions_def=DAYS,
    executor_def=_EXECUTOR,
    description="Everything, from the raw logs of a range of days to a release; scheduled every night.",
)
ingest_logs = dg.define_asset_job(
    "ingest_logs",
    selection=dg.AssetSelection.assets(*_RECORD),
    partitions_def=DAYS,
    executor_def=_EXECUTOR,
    description="Raw logs to labels for a range of days; started when log files arrive.",
)
refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.assets(*_RECORD[1:]),
    partitions_def=DAYS,
    executor_def=_EXECUTOR,
    description="A range of days again from the events at hand; started where later feedback or time has touched them.",
)
relabel = dg.define_asset_job(
    "relabel",
    selection=dg.AssetSelection.assets("labels"),
    partitions_def=DAYS,
    executor_def=_EXECUTOR,
    description="Label a range of days again in one run, after the policy changed.",
)
retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets("audit_sample").downstream(),
    executor_def=_EXECUTOR,
    description="From the labels at hand: what people found of them, a training set, and a release from it.",
)

JOBS: list[Any] = [nightly_retrain, ingest_logs, refresh, relabel, apply_policy, retrain]
STAGES_OF_DAYS = {
    nightly_retrain.name: frozenset(STAGES),
    ingest_logs.name: frozenset(_RECORD),
    refresh.name: frozenset(_RECORD[1:]),
    relabel.name: frozenset({"labels"}),
}
"""What each job makes of the days it is asked for."""
