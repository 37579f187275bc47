"""What validations found, kept in the lake: what stands of each day, whoever asks and whenever."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from feedback.lake.delta import Lake, Table
from feedback.lake.event_schema import TIME
from feedback.lake.journals import append

if TYPE_CHECKING:
    from feedback.validation.expectations import Validation

VALIDATIONS: Final = Table(
    name="validations",
    schema=pa.schema(
        [
            ("asset", pa.string()),
            ("part", pa.string()),  # a day, or a training set's version
            ("critical_failed", pa.list_(pa.string())),  # rules
            ("warning_failed", pa.list_(pa.string())),
            ("page", pa.string()),  # of the Data Docs, relative to their folder
            ("run_id", pa.string()),
            ("recorded_at", TIME),
        ]
    ),
)
"""A row a day (or training set) that was validated, each time it was: appended to, never replaced."""


def record(
    lake: Lake, validation: Validation, *, parts: Sequence[str], page: str, run_id: str, recorded_at: datetime
) -> None:
    """Append what came of a suite, a row each of `parts`: days, or the version of one training set, which has all."""
    by_day = validation.suite.unit == "day"

    def failed(severity: str, part: str) -> list[str]:
        return [outcome.rule.name for outcome in validation.failed(severity) if not by_day or part in outcome.units]

    rows = [
        {
            "asset": validation.suite.asset,
            "part": part,
            "critical_failed": failed("critical", part),
            "warning_failed": failed("warning", part),
            "page": page,
            "run_id": run_id,
            "recorded_at": recorded_at,
        }
        for part in parts
    ]
    append(lake, VALIDATIONS, pa.Table.from_pylist(rows, VALIDATIONS.schema))


def by_page(lake: Lake, most: int = 400) -> list[dict[str, Any]]:
    """The newest validations, newest first: `asset, page, recorded_at, parts` (a count) and the rules that failed."""
    with lake.sql(VALIDATIONS) as connection:
        pages = connection.sql(
            """
            SELECT asset, page, max(recorded_at) AS recorded_at, count(*) AS parts,
                list_sort(list_distinct(flatten(list(critical_failed)))) AS critical,
                list_sort(list_distinct(flatten(list(warning_failed)))) AS warning
            FROM validations GROUP BY asset, page ORDER BY recorded_at DESC, page LIMIT $most
            """,
            params={"most": most},
        ).to_arrow_table()
    return list(pages.to_pylist())


def standing(lake: Lake) -> dict[str, dict[str, Any]]:
    """What stands of the lake's days by their newest validation, for a training set's manifest.

    Returns:
        By asset: `days` (how many were validated), `critical` and `warning` (by rule, the days that it does not hold
        for, in order).

    """
    with lake.sql(VALIDATIONS) as connection:
        rows = connection.sql(
            """
            SELECT asset, part, critical_failed, warning_failed FROM validations WHERE asset <> 'training_set'
            QUALIFY row_number() OVER (PARTITION BY asset, part ORDER BY recorded_at DESC) = 1
            ORDER BY asset, part
            """
        ).to_arrow_table()
    stands: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():
        found = stands.setdefault(row["asset"], {"days": 0, "critical": {}, "warning": {}})
        found["days"] += 1
        for severity in ("critical", "warning"):
            for rule in row[f"{severity}_failed"]:
                found[severity].setdefault(rule, []).append(row["part"])
    return stands
