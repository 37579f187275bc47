"""The journal of validations: the rules that failed, by day or by training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from feedback.lake.delta import Lake, Table
from feedback.lake.event_schema import TIME
from feedback.lake.journals import append

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
"""A row for each validation of a day (or of a training set): appended to, never replaced."""


def append_validations(lake: Lake, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append a row for each validated part, in the columns of `VALIDATIONS`."""
    append(lake, VALIDATIONS, pa.Table.from_pylist(list(rows), VALIDATIONS.schema))


def by_page(lake: Lake, most: int = 400) -> list[dict[str, Any]]:
    """Return the newest validations, newest first: `asset, page, recorded_at, parts` (a count) and the failed rules."""
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


def newest_outcomes(lake: Lake) -> dict[str, dict[str, Any]]:
    """Return the newest validation of each day, for a training set's manifest.

    Returns:
        By asset: `days` (how many were validated), `critical` and `warning` (by rule, the days that fail it, in order).

    """
    with lake.sql(VALIDATIONS) as connection:
        rows = connection.sql(
            """
            SELECT asset, part, critical_failed, warning_failed FROM validations WHERE asset <> 'training_set'
            QUALIFY row_number() OVER (PARTITION BY asset, part ORDER BY recorded_at DESC) = 1
            ORDER BY asset, part
            """
        ).to_arrow_table()
    outcomes: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():
        outcome = outcomes.setdefault(row["asset"], {"days": 0, "critical": {}, "warning": {}})
        outcome["days"] += 1
        for severity in ("critical", "warning"):
            for rule in row[f"{severity}_failed"]:
                outcome[severity].setdefault(rule, []).append(row["part"])
    return outcomes
