"""The frames that rules check: a table's rows and days, counted by DuckDB into small tables without customers' texts.

The rules check flags and names, so the frame `rows` holds each combination of these once, with its number of rows: a
million events are a few hundred combinations, and no information is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from feedback.exceptions import FeedbackError
from feedback.lake.connections import connected
from feedback.lake.delta import Lake
from feedback.lake.event_schema import DRAFT_KINDS, NEEDED_COLUMNS, ROW_KINDS, SENT_SUFFIX
from feedback.lake.parquet_scan import view_stored
from feedback.lake.sql_literals import literal, literals
from feedback.lake.tables import EVENTS, INTERACTIONS, LABELS
from feedback.training_set.redaction import PATTERNS
from label_policy import CLASSES, WHITE_SPACE, Label

if TYPE_CHECKING:
    from feedback.training_set.build import TrainingSet

TRAILING_DAYS: Final = 28
"""A day is compared with this number of days before it."""

_TABLES: Final = {"feedback_events": EVENTS, "interactions": INTERACTIONS, "labels": LABELS}
# A value that is too long for a name, or no word, may be a customer's text in the wrong column.
_NAME_OF: Final = """
CREATE TEMP MACRO name_of(value) AS
    CASE WHEN regexp_full_match(value, '[A-Za-z0-9_.:-]{1,40}') THEN value
        ELSE '(no name: ' || length(value) || ' characters)' END
"""


_PLACEHOLDERS: Final = {
    "draft_kinds": literals(DRAFT_KINDS),
    "row_kinds": literals(ROW_KINDS),
    "complete": "CASE kind "
    + " ".join(
        f"WHEN {literal(kind)} THEN {' AND '.join(f'{name} IS NOT NULL' for name in names)}"
        for kind, names in NEEDED_COLUMNS.items()
    )
    + " ELSE true END",
    "classes": literals(CLASSES),
    "desirable": Label.DESIRABLE,
}


def table_frames(lake: Lake, asset: str, days: Sequence[date]) -> dict[str, pa.Table]:
    """Return the frames of a lake table's days, by name.

    Args:
        lake: holds the table.
        asset: feedback_events, interactions or labels.
        days: the days to check; the days before them are read for comparison.

    """
    table = _TABLES[asset]
    read = sorted({day - timedelta(days=back) for day in days for back in range(TRAILING_DAYS + 1)})
    with lake.sql() as connection:
        connection.register("days", pa.table({"day": pa.array(sorted(set(days)), pa.date32())}))
        view_stored(connection, lake, table, days=days if table is INTERACTIONS else read)
        if table is EVENTS:
            view_stored(connection, lake, EVENTS, name="known_ids")
        if table is LABELS:
            view_stored(connection, lake, INTERACTIONS, days=days)
        return _frames(connection, asset)


def training_set_frames(training_set: TrainingSet) -> dict[str, pa.Table]:
    """Return the frames of a training set, by name.

    Raises:
        FeedbackError: its files cannot be read.

    """
    path = training_set.path
    counts = {split: training_set.manifest["counts"][split] for split in ("train", "heldout")}
    manifest = {"split": list(counts), "rows": [sum(of_split.values()) for of_split in counts.values()]}
    files = "read_parquet('{}', union_by_name = true)"
    parts = " UNION ALL BY NAME ".join(
        f"SELECT *, '{split}' AS split, '{name}' AS class FROM "
        + files.format(str(path / name / f"{split}-*.parquet").replace("'", "''"))
        for split in counts
        for name in CLASSES
    )
    with connected() as connection:
        connection.register("counted", pa.table(manifest))
        try:
            connection.execute(f"CREATE TEMP VIEW rows AS {parts}")
            return _frames(connection, "training_set")
        except duckdb.Error as error:
            raise FeedbackError(
                f"training set {path.name} cannot be validated ({' '.join(str(error).split())}); "
                "remove its folder and run `feedback-kto retrain`"
            ) from error


def stored_days(lake: Lake, asset: str) -> list[date]:
    """Return the days that the asset's table has rows of."""
    table = _TABLES[asset]
    column = table.partition_by[0]
    with lake.sql(table) as connection:
        rows = connection.execute(f"SELECT DISTINCT {column} FROM {table.name} ORDER BY 1").fetchall()
    return [day for (day,) in rows]


def _frames(connection: duckdb.DuckDBPyConnection, asset: str) -> dict[str, pa.Table]:
    connection.execute(_NAME_OF)
    parameters: dict[str, Any] = {
        "sent_suffix": SENT_SUFFIX,
        "white_space": WHITE_SPACE,
        "personal": "|".join(f"(?:{pattern})" for pattern in PATTERNS.values()),
    }
    return {
        name: connection.sql(
            query, params={key: value for key, value in parameters.items() if f"${key}" in query}
        ).to_arrow_table()
        for name, query in frame_queries(asset).items()
    }


@cache
def frame_queries(asset: str) -> dict[str, str]:
    """Return the queries of `<asset>.sql` by the name of the frame that each gives."""
    file = {"feedback_events": "events"}.get(asset, asset)
    text = Path(__file__).with_name(f"{file}.sql").read_text(encoding="utf-8").format(**_PLACEHOLDERS)
    _, *parts = re.split(r"^-- Frame (\w+)$", text, flags=re.MULTILINE)
    return {name: query.strip().removesuffix(";") for name, query in zip(parts[::2], parts[1::2], strict=True)}
