"""Apply Great Expectations to the frames, one validation a frame, and return the outcomes in our words.

The library takes two to four seconds to load, so it is loaded for the first validated suite and never by code that only
reads the rules. Nothing is stored in it and nothing leaves the machine: the context exists only in the process, and it
gets small frames without customers' texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from feedback.validation.suites import Rule, Suite

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext


_MOST_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one rule."""

    rule: Rule
    checked: int  # rows, or rows of the rule's frame, that the rule applies to
    violations: int  # how many of them break the rule
    units: dict[str, int] = field(default_factory=dict)  # the violations by day or split
    failing_rows: list[dict[str, Any]] = field(default_factory=list)  # rows of the frame that break the rule

    @property
    def passed(self) -> bool:
        """Whether the rule holds."""
        return self.violations == 0

    def say(self) -> str:
        """Return the rule in words and, if it is broken, how often, where, and what to do."""
        if self.passed:
            return self.rule.says
        rows = "rows" if self.rule.frame == "rows" else "cases"
        return (
            f"{self.rule.says} Not so for {self.violations:,} of {self.checked:,} {rows}: {self._say_where()}; "
            f"{self.rule.remedy}"
        )

    def _say_where(self) -> str:
        named = [f"{unit} ({self._say_first(unit)})" for unit in list(self.units)[:_MOST_NAMED]]
        more = len(self.units) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")

    def _say_first(self, unit: str) -> str:
        """Return the values of the unit's first failing row, after the unit's count for the frame `rows`."""
        row = next(row for row in self.failing_rows if unit in row.values())
        values = [f"{name} {value}" for name, value in row.items() if value not in (unit, None) and name != "rows"]
        return f"{self.units[unit]:,}: " * (self.rule.frame == "rows") + ", ".join(values)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The results of a suite."""

    suite: Suite
    outcomes: list[Outcome]
    result: ExpectationSuiteValidationResult  # of all rules, counted in rows, for the Data Docs

    def failed(self, severity: str) -> list[Outcome]:
        """Return the outcomes of the rules of that severity that do not hold."""
        return [outcome for outcome in self.outcomes if not outcome.passed and outcome.rule.severity == severity]

    def failed_rules(self, severity: str, part: str) -> list[str]:
        """Return the names of the rules that fail for a day; a training set is one part, with all failed rules."""
        by_day = self.suite.unit == "day"
        return [outcome.rule.name for outcome in self.failed(severity) if not by_day or part in outcome.units]


def validate(suite: Suite, frames: Mapping[str, pa.Table]) -> Validation:
    """Apply all rules of the suite to its `frames`, in one validation a frame."""
    _context()  # first: it turns reporting off before any part of the library is loaded
    from great_expectations.core import ExpectationSuiteValidationResult

    results = []
    for name in suite.frames:
        results += _validate_frame(suite, name, frames[name])
    by_rule = {result.expectation_config.meta["rule"]: result for result in results}
    outcomes = [_outcome(suite, rule, by_rule[rule.name].result) for rule in suite.rules]
    for result in results:
        # The outcomes hold these row by row; GX's page would join all values of a column.
        for name in ("unexpected_index_list", "partial_unexpected_index_list", "unexpected_index_column_names"):
            result.result.pop(name, None)
    passed = sum(outcome.passed for outcome in outcomes)
    whole = ExpectationSuiteValidationResult(
        success=passed == len(outcomes),
        results=[by_rule[rule.name] for rule in suite.rules],
        suite_name=suite.asset,
        statistics={
            "evaluated_expectations": len(outcomes),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(outcomes) - passed,
            "success_percent": 100 * passed / len(outcomes),
        },
        meta=_meta(),
    )
    return Validation(suite=suite, outcomes=outcomes, result=whole)


def _validate_frame(suite: Suite, name: str, frame: pa.Table) -> list[Any]:
    import great_expectations.expectations as gxe
    import pandas as pd  # type: ignore[import-untyped]
    from great_expectations import ExpectationSuite

    rules = [rule for rule in suite.rules if rule.frame == name]
    expectations = [
        getattr(gxe, rule.expectation)(
            column=rule.column,
            **rule.arguments,
            severity=rule.severity,
            description=f"{rule.name} ({rule.severity}): {rule.says}",
            meta={"rule": rule.name},
        )
        for rule in rules
    ]
    shown = [
        column for column in frame.column_names if column in {suite.unit, "rows", *(s for r in rules for s in r.shown)}
    ]
    batch = _whole_frame(suite.asset, name).get_batch({"dataframe": frame.to_pandas(types_mapper=pd.ArrowDtype)})
    validated = batch.validate(
        ExpectationSuite(name=f"{suite.asset}.{name}", expectations=expectations),
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": shown,
            "return_unexpected_index_query": False,
        },
    )
    for result in validated.results:
        if result.exception_info.get("raised_exception"):
            raise RuntimeError(f"{suite.asset}.{name}: {result.exception_info['exception_message']}")
        if "rows" in frame.column_names:
            _count_rows(result.result, frame)
    return list(validated.results)


def _count_rows(result: dict[str, Any], frame: pa.Table) -> None:
    """Replace a result's counts of combinations by counts of rows."""
    rows = sum(frame.column("rows").to_pylist())
    violations = sum(int(row["rows"]) for row in result["unexpected_index_list"] or [])
    share = 100 * violations / rows if rows else 0.0
    result |= {
        "element_count": rows,
        "unexpected_count": violations,
        **{f"unexpected_percent{of}": share for of in ("", "_total", "_nonmissing")},
    }


def _outcome(suite: Suite, rule: Rule, result: Mapping[str, Any]) -> Outcome:
    failing_rows = [_plain(row) for row in result["unexpected_index_list"] or []]
    units: dict[str, int] = {}
    for row in failing_rows:
        units[row[suite.unit]] = units.get(row[suite.unit], 0) + row.get("rows", 1)
    return Outcome(
        rule=rule,
        checked=result["element_count"] - result.get("missing_count", 0),
        violations=result["unexpected_count"],
        units=dict(sorted(units.items())),
        failing_rows=failing_rows,
    )


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a pandas frame in Python's own values."""
    import pandas as pd

    return {
        name: None if pd.isna(value) else value.item() if hasattr(value, "item") else value
        for name, value in row.items()
    }


def _meta() -> dict[str, Any]:
    """Return the metadata of a validation: GX's version, and nothing about the data in memory."""
    from importlib.metadata import version

    return {"great_expectations_version": version("great_expectations")}


@cache
def _context() -> EphemeralDataContext:
    """Return the one context of the process: it reports nothing, stores nothing and shows no progress bars."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # read when the library is loaded
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    return gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


@cache
def _whole_frame(asset: str, name: str) -> BatchDefinition[Any]:
    """Return the batch definition through which GX gets a frame."""
    source = _context().data_sources.add_or_update_pandas(f"{asset}.{name}")
    return source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("frame")
