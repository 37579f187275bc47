"""Read the verdicts on one row and whether each counts, to explain the row's label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from feedback.audits.verdicts import TEXT_DIGEST_SQL, Origin, VerdictKind
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, VERDICTS

WhyNot = Literal["text changed", "label changed", "not sampled", "read by a person", "simulated"]


@dataclass(frozen=True, kw_only=True)
class RowVerdict:
    """One reviewer's newest verdict on a row, unless it was withdrawn.

    Attributes:
        reviewer: the reviewer's name.
        verdict: one of `feedback.audits.verdicts.ANSWERS`.
        reason: one of `feedback.audits.verdicts.REASONS`, or None.
        note: a note in the reviewer's words.
        recorded_at: when the lake recorded it.
        origin: a `feedback.audits.verdicts.Origin`.
        label: the policy's label of the row then, by `rule`.
        why_not: why it does not count for the current label; None where it does. The text has changed since it was
            read; the label has changed since the draw, which the next draw takes into account; the row is not in the
            last drawn sample of the policy's labels; or it is simulated, and a person has read the row or simulated
            verdicts do not count on the desk.

    """

    reviewer: str
    verdict: str
    reason: str | None
    note: str | None
    recorded_at: datetime
    origin: str
    label: str
    rule: str
    why_not: WhyNot | None


_VERDICTS = f"""
WITH newest AS (
    SELECT * FROM verdicts WHERE draft_id = $row
    QUALIFY row_number() OVER (PARTITION BY reviewer ORDER BY recorded_at DESC, verdict_id DESC) = 1
),
kept AS (SELECT * FROM newest WHERE verdict <> '{VerdictKind.WITHDRAWN}'),
now AS (
    SELECT label, {TEXT_DIGEST_SQL} AS text_digest FROM labels WHERE draft_id = $row
),
drawn AS (
    SELECT label FROM audit_sample WHERE draft_id = $row AND policy_digest = $digest AND stratum_size IS NOT NULL
),
checked AS (
    SELECT kept.*,
        text_digest IN (SELECT text_digest FROM now) AS same_text,
        (SELECT any_value(label) FROM drawn) AS drawn_label,
        (SELECT any_value(label) FROM now) AS label_now
    FROM kept
)
SELECT *, bool_or(same_text AND origin <> '{Origin.SIMULATED}') OVER () AS person_read
FROM checked ORDER BY recorded_at, reviewer
"""


def read_verdicts(lake: Lake, row_id: str, *, policy_digest: str, simulated: bool) -> list[RowVerdict]:
    """Return all reviewers' verdicts on a row, the oldest first, without withdrawn ones.

    Args:
        lake: holds verdicts, labels and the sample.
        row_id: the row's id in the sample.
        policy_digest: the desk's policy; a sample of another policy's labels does not count.
        simulated: whether simulated verdicts count.

    """
    if not lake.exists(VERDICTS):
        return []
    with lake.sql(VERDICTS, AUDIT_SAMPLE) as connection:
        view_stored(connection, lake, LABELS)
        rows = connection.sql(_VERDICTS, params={"row": row_id, "digest": policy_digest}).to_arrow_table().to_pylist()
    columns = ("reviewer", "verdict", "reason", "note", "recorded_at", "origin", "label", "rule")
    return [RowVerdict(**{name: row[name] for name in columns}, why_not=_why_not(row, simulated)) for row in rows]


def _why_not(row: Mapping[str, Any], simulated: bool) -> WhyNot | None:
    if not row["same_text"]:
        return "text changed"
    if row["origin"] == Origin.SIMULATED and row["person_read"]:
        return "read by a person"
    if row["origin"] == Origin.SIMULATED and not simulated:
        return "simulated"
    if row["drawn_label"] is None:
        return "not sampled"
    return "label changed" if row["drawn_label"] != row["label_now"] else None
