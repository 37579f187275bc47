"""The rules of `feedback.validation` as asset checks: one check per rule, one validation per table and run.

A run over some days validates those days and names the ones that fail. A critical rule blocks: nothing that reads the
asset starts in that run. A run of the checks alone, without days, validates every day of the table.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from assets.support.common import DAYS, DeskResource
from feedback.training_set.build import read_training_set
from feedback.validation import SUITES, Suite, Validated, validate_days, validate_training_set

_DOCS = "data_docs"  # in the desk's folder
_SEVERITY = {"critical": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}


def _specs(suite: Suite) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            rule.name,
            asset=suite.asset,
            description=rule.says,
            blocking=rule.severity == "critical",
            metadata={"severity": rule.severity, "expectation": rule.expectation},
        )
        for rule in suite.rules
    ]


def _days_check(asset: str) -> dg.AssetChecksDefinition:
    """Return the checks of a lake table's days."""

    @dg.multi_asset_check(specs=_specs(SUITES[asset]), name=f"validate_{asset}")
    def check(context: dg.AssetCheckExecutionContext, desk: DeskResource) -> Iterator[dg.AssetCheckResult]:
        active = desk.active()
        days = None
        if context.has_partition_key or context.has_partition_key_range:
            days = [date.fromisoformat(key) for key in DAYS.get_partition_keys_in_range(context.partition_key_range)]
        validated = validate_days(active.lake, asset, days, docs=active.path / _DOCS, run_id=context.run.run_id)
        yield from _results(asset, validated)

    return check


@dg.multi_asset_check(
    specs=_specs(SUITES["training_set"]), name="validate_training_set", ins={"training_set": dg.AssetIn("training_set")}
)
def validate_training_set_check(
    context: dg.AssetCheckExecutionContext, desk: DeskResource, training_set: dict[str, Any]
) -> Iterator[dg.AssetCheckResult]:
    """The checks of the training set that the run made, or of the last one."""
    active = desk.active()
    validated = validate_training_set(
        active.lake, read_training_set(Path(training_set["path"])), docs=active.path / _DOCS, run_id=context.run.run_id
    )
    yield from _results("training_set", validated)


def _results(asset: str, validated: Validated) -> Iterator[dg.AssetCheckResult]:
    # The command names the check that failed last as the one that stopped the run: so critical failures come last.
    for outcome in sorted(validated.outcomes, key=lambda each: not each.passed and each.rule.severity == "critical"):
        yield dg.AssetCheckResult(
            asset_key=asset,
            check_name=outcome.rule.name,
            passed=outcome.passed,
            severity=_SEVERITY[outcome.rule.severity],
            description=None if outcome.passed else outcome.say(),
            metadata={
                "judged": outcome.checked,
                "against the rule": outcome.violations,
                **({"where": dg.MetadataValue.json(outcome.units)} if outcome.units else {}),
                "data docs": dg.MetadataValue.path(validated.page),
                "data docs page": dg.MetadataValue.url(validated.page.resolve().as_uri()),
            },
        )


validate_feedback_events = _days_check("feedback_events")
validate_interactions = _days_check("interactions")
validate_labels = _days_check("labels")
