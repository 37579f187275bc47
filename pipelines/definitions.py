"""The Dagster definitions: `dg dev`, the daemon and the command all load this module."""

from __future__ import annotations

import dagster as dg

from assets import (
    audit_sample,
    evaluation,
    feedback_events,
    interactions,
    kto_candidate,
    labels,
    reference_model,
    release,
    training_set,
)
from assets.common import DeskResource
from assets.desk import feedback_home
from assets.pointers import PointerIOManager
from pipelines.jobs import JOBS
from pipelines.schedules import nightly
from pipelines.sensors import new_log_files

_STAGES = [
    feedback_events, interactions, labels, audit_sample, training_set,
    reference_model, kto_candidate, evaluation, release,
]  # fmt: skip

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(_STAGES),
    asset_checks=dg.load_asset_checks_from_modules(_STAGES),
    jobs=JOBS,
    schedules=[nightly],
    sensors=[new_log_files],
    resources={
        "desk": DeskResource(home=str(feedback_home())),
        "io_manager": PointerIOManager(home=str(feedback_home())),
    },
    executor=dg.in_process_executor,
)
