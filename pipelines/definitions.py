"""The Dagster definitions: `dg dev`, the daemon and the command all load this module."""

from __future__ import annotations

from importlib import import_module

import dagster as dg

from assets import validation
from assets.support.common import DESK_NAME, DeskResource
from assets.support.pointer_io import PointerIOManager
from assets.support.stages import STAGES
from desk.desk import feedback_home
from pipelines.automation.jobs import JOBS
from pipelines.automation.schedules import nightly
from pipelines.automation.sensors import late_feedback, new_log_files

_STAGES = [import_module(f"assets.{stage}") for stage in STAGES]
_DESK = DeskResource(home=str(feedback_home()), name=DESK_NAME)

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(_STAGES),
    asset_checks=dg.load_asset_checks_from_modules([*_STAGES, validation]),
    jobs=JOBS,
    schedules=[nightly],
    sensors=[new_log_files, late_feedback],
    resources={"desk": _DESK, "io_manager": PointerIOManager(desk=_DESK)},
    executor=dg.in_process_executor,
)
