"""Run a validation from end to end: frames, rules, the page of the Data Docs and the entry in the lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feedback.lake.delta import Lake
from feedback.lake.validation_log import append_validations, by_page
from feedback.validation.data_docs import write_index, write_page
from feedback.validation.expectations import Outcome, Validation, validate
from feedback.validation.frames import stored_days, table_frames, training_set_frames
from feedback.validation.suites import SUITES

if TYPE_CHECKING:
    from feedback.training_set.build import TrainingSet


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The outcome of each rule, in the suite's order, and the page that shows it."""

    outcomes: list[Outcome]
    page: Path


def validate_days(lake: Lake, asset: str, days: Sequence[date] | None, *, docs: Path, run_id: str) -> Validated:
    """Validate days of a lake table; write one page for all days and an entry for each.

    Args:
        lake: holds the table; the outcome is recorded there.
        asset: feedback_events, interactions or labels.
        days: UTC dates; None for every day that the table has rows of.
        docs: folder of the Data Docs.
        run_id: id of the run that validates.

    """
    checked = sorted(set(stored_days(lake, asset) if days is None else days))
    validation = validate(SUITES[asset], table_frames(lake, asset, checked))
    label = f"{checked[0]} to {checked[-1]}" if len(checked) > 1 else str(checked[0]) if checked else "no day"
    return _publish(lake, validation, [str(day) for day in checked], label, docs, run_id)


def validate_training_set(lake: Lake, training_set: TrainingSet, *, docs: Path, run_id: str) -> Validated:
    """Validate `training_set`; the other arguments as for `validate_days`.

    Raises:
        FeedbackError: its files cannot be read.

    """
    validation = validate(SUITES["training_set"], training_set_frames(training_set))
    return _publish(lake, validation, [training_set.version], training_set.version, docs, run_id)


def _publish(
    lake: Lake, validation: Validation, parts: Sequence[str], label: str, docs: Path, run_id: str
) -> Validated:
    now = datetime.now(UTC)
    page = write_page(docs, validation, parts=label, at=now, run_id=run_id)
    append_validations(
        lake,
        [
            {
                "asset": validation.suite.asset,
                "part": part,
                "critical_failed": validation.failed_rules("critical", part),
                "warning_failed": validation.failed_rules("warning", part),
                "page": page.relative_to(docs).as_posix(),
                "run_id": run_id,
                "recorded_at": now,
            }
            for part in parts
        ],
    )
    write_index(docs, by_page(lake))
    return Validated(outcomes=validation.outcomes, page=page)
