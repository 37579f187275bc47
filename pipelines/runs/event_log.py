"""The state of a run, kept up to date from the entries of its event log."""

from __future__ import annotations

import dagster as dg
from dagster import DagsterEventType

from assets.support.stages import APPLY_STEP, STAGES
from pipelines.runs.run_state import RunSeen, StageSeen
from training_worker.progress_lines import Progress

# Errors meant to be read by a person; anything else is a bug and is shown with its log.
_USER_ERRORS = {"FeedbackError", "SourceError", "PolicyError", "TrainingError", "HarborError", "Failure"}


def learn(seen: RunSeen, entry: dg.EventLogEntry) -> bool:
    """Learn from one entry of the run's event log; whether anything was new."""
    event = entry.dagster_event
    if event is None:
        progress = Progress.parse(entry.user_message)
        if progress is None or entry.step_key not in seen.stages:
            return False
        seen.stages[entry.step_key].progress = progress
        return True
    kind, step = event.event_type, event.step_key
    if kind is DagsterEventType.STEP_START and step in (*STAGES, APPLY_STEP):
        seen.stages[step] = StageSeen(name=step, state="running", seconds=-entry.timestamp)
    elif kind in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
        if stage := seen.stages.get(step or ""):
            stage.seconds += entry.timestamp
            stage.state = "done" if kind is DagsterEventType.STEP_SUCCESS else "failed"
        if kind is DagsterEventType.STEP_FAILURE:
            seen.error = _reason(event, seen)
    elif kind is DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        if check.passed:
            return False
        why = check.description or ", ".join(f"{name} {item.value}" for name, item in check.metadata.items())
        seen.warnings.append(f"check {check.asset_key.to_user_string()}.{check.check_name}: {why}")
    else:
        return False
    return True


def _reason(event: dg.DagsterEvent, seen: RunSeen) -> str:
    """One sentence where the failure was meant for a person, the error and where its log is otherwise."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    if error is not None and error.cls_name == "DagsterAssetCheckFailedError" and seen.warnings:
        return "stopped by " + seen.warnings.pop()
    while error is not None:
        if error.cls_name in _USER_ERRORS:
            return error.message.split(": ", 1)[-1].strip()
        error = error.cause
    innermost = data.error
    while innermost is not None and innermost.cause is not None:
        innermost = innermost.cause
    return f"{event.step_key} failed: {innermost.message.strip() if innermost else 'no error'}; see {seen.log}"
