"""Labels: the policy's verdict on every interaction of a day, with when it becomes final."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, cast

import duckdb
import pyarrow as pa

from feedback.exceptions import FeedbackError
from feedback.lake import Lake
from feedback.tables import EVENTS, FILES, INTERACTIONS, LABELS
from label_policy import Policy, compile_policy

# How far the logs at hand reach: the end of the last arrival day, or the last receipt where a clock ran ahead of it.
_LOGS_END = """
SELECT greatest(
    (SELECT CAST(max(arrival_date) + 1 AS TIMESTAMPTZ) FROM files),
    (SELECT max(received_at) FROM events))
"""


def build_labels(lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime) -> pa.Table:
    """Label the stored interactions shown on `days` by `policy`.

    A label is `final` once `matures_at` has passed as of this build *and* as of what its interaction was made from (its
    own `as_of`, and the last event that had been received by then): what nobody looked at overturns nothing.

    Returns:
        A table in the schema of `LABELS`, ordered by `shown_at, draft_id`.

    Raises:
        FeedbackError: a condition fails on the data, which names the policy.

    """
    with lake.sql(EVENTS, FILES, INTERACTIONS) as connection:
        [(logs_end,)] = connection.execute(_LOGS_END).fetchall()
        try:
            rows = connection.sql(
                f"""
                WITH asked AS (SELECT * FROM interactions WHERE shown_date IN (SELECT unnest($days))),
                labelled AS ({compile_policy(policy, relation="asked")})
                SELECT * EXCLUDE (as_of),
                    CASE WHEN matures_at <= least($as_of, labelled.as_of, $logs_end) THEN 'final' ELSE 'provisional' END
                        AS state,
                    $name AS policy, $version AS policy_version, $digest AS policy_digest, $as_of AS as_of
                FROM labelled ORDER BY shown_at, draft_id
                """,
                params={
                    "days": list(days),
                    "as_of": as_of,
                    "logs_end": logs_end,
                    "name": policy.name,
                    "version": policy.version,
                    "digest": policy.digest,
                },
            ).to_arrow_table()
        except duckdb.Error as error:
            raise FeedbackError(
                f"policy {policy.name} {policy.version} fails on the stored interactions: "
                f"{str(error).splitlines()[0]}; change the condition that it names"
            ) from error
    return rows.select(LABELS.schema.names).cast(LABELS.schema)


def write_labels(lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime) -> pa.Table:
    """Label the interactions of `days` and replace those partitions in one commit; returns the rows."""
    rows = build_labels(lake, policy, days, as_of=as_of)
    lake.replace(LABELS, rows, days)
    return rows


def summarise_labels(labels: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    """How many labels each combination of `columns` has, as rows of their values and the count, in their order."""
    counts = labels.group_by(list(columns)).aggregate([([], "count_all")])
    return sorted(
        (tuple(row.values()) for row in counts.select([*columns, "count_all"]).to_pylist()),
        key=lambda row: tuple((value is None, value) for value in row),
    )


def days_behind(lake: Lake, policy: Policy) -> tuple[list[date], int]:
    """The days with labels by another policy than `policy`, and how many days have labels at all."""
    with lake.sql(LABELS) as connection:
        days = connection.execute(
            "SELECT shown_date, bool_or(policy_digest <> ?) FROM labels GROUP BY shown_date ORDER BY shown_date",
            [policy.digest],
        ).fetchall()
    return [day for day, behind in days if behind], len(days)


def oldest_provisional_day(lake: Lake) -> date | None:
    """The first day that still has provisional labels, or None: it must be labelled again when they mature."""
    with lake.sql(LABELS) as connection:
        [(day,)] = connection.execute("SELECT min(shown_date) FROM labels WHERE state = 'provisional'").fetchall()
    return cast("date | None", day)


def labelled_days(lake: Lake) -> tuple[date, date] | None:
    """The first and last day that have interactions to label, or None where there is none."""
    with lake.sql(INTERACTIONS) as connection:
        [(first, last)] = connection.execute("SELECT min(shown_date), max(shown_date) FROM interactions").fetchall()
    return (first, last) if first else None


def count_labels(lake: Lake, first: date, last: date) -> dict[str, int]:
    """Labels of the drafts shown from `first` to `last`, by label, the most frequent first."""
    with lake.sql(LABELS) as connection:
        return dict(
            connection.execute(
                "SELECT label, count(*) FROM labels WHERE shown_date BETWEEN ? AND ? GROUP BY label ORDER BY 2 DESC, 1",
                [first, last],
            ).fetchall()
        )
