"""The jobs: what is run together."""

from __future__ import annotations

import dagster as dg

from assets.common import DAYS

# The learning stages run in processes of their own, so one process is enough for the rest, and saves a start a stage.
_EXECUTOR = dg.in_process_executor
_RECORD = dg.AssetSelection.assets("feedback_events", "interactions", "labels")

nightly_retrain = dg.define_asset_job(
    "nightly_retrain",
    selection=dg.AssetSelection.all(),
    partitions_def=DAYS,
    executor_def=_EXECUTOR,
    description="Everything, from the raw logs of a range of days to a release; scheduled every night.",
)
ingest_logs = dg.define_asset_job(
    "ingest_logs",
    selection=_RECORD,
    partitions_def=DAYS,
    executor_def=_EXECUTOR,
    description="Raw logs to labels for a range of days; started when log files arrive.",
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
    selection=dg.AssetSelection.assets("training_set").downstream(),
    executor_def=_EXECUTOR,
    description="A training set from the labels at hand, and a release from it.",
)

JOBS = [nightly_retrain, ingest_logs, relabel, retrain]
