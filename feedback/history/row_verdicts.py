"""What people said of one row, and whether it counts: for whoever asks why the row has its label."""

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
class Reading:
    """What one reviewer says of a row: the newest verdict, unless it was withdrawn.

    Attributes:
        reviewer: whose it is.
        verdict: one of `feedback.audits.verdicts.GIVEN`.
        reason: one of `feedback.audits.verdicts.REASONS`, or None.
        note: in the reviewer's own words.
        recorded_at: when it was given.
        origin: a `feedback.audits.verdicts.Origin`.
        label: what the policy said of the row then, by `rule`.
        why_not: why it does not count for the label as it is now; None where it does. The text is another than was
            read; the label is another than was drawn, which the next draw takes notice of; the row is not in the
            sample of the policy's labels as it was last drawn; or it is simulated, and a person has read the row or
            the desk lets no simulated verdict count.

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


_SAID = f"""
WITH newest AS (
    SELECT * FROM verdicts WHERE draft_id = $row
    QUALIFY row_number() OVER (PARTITION BY reviewer ORDER BY recorded_at DESC, verdict_id DESC) = 1
),
given AS (SELECT * FROM newest WHERE verdict <> '{VerdictKind.WITHDRAWN}'),
now AS (
    SELECT label, {TEXT_DIGEST_SQL} AS text_digest FROM labels WHERE draft_id = $row
),
drawn AS (
    SELECT label FROM audit_sample WHERE draft_id = $row AND policy_digest = $digest AND stratum_size IS NOT NULL
),
checked AS (
    SELECT given.*,
        text_digest IN (SELECT text_digest FROM now) AS same_text,
        (SELECT any_value(label) FROM drawn) AS drawn_label,
        (SELECT any_value(label) FROM now) AS label_now
    FROM given
)
SELECT *, bool_or(same_text AND origin <> '{Origin.SIMULATED}') OVER () AS person_read
FROM checked ORDER BY recorded_at, reviewer
"""


def read_verdicts(lake: Lake, row_id: str, *, policy_digest: str, simulated: bool) -> list[Reading]:
    """What everybody says of a row, the oldest first; withdrawn verdicts are left out.

    Args:
        lake: holds verdicts, labels and the sample.
        row_id: as the sample names it.
        policy_digest: the desk's policy; a sample of another's labels is none of its own.
        simulated: whether verdicts that nobody gave count.

    """
    if not lake.exists(VERDICTS):
        return []
    with lake.sql(VERDICTS, AUDIT_SAMPLE) as connection:
        view_stored(connection, lake, LABELS)
        found = connection.sql(_SAID, params={"row": row_id, "digest": policy_digest}).to_arrow_table().to_pylist()
    kept = ("reviewer", "verdict", "reason", "note", "recorded_at", "origin", "label", "rule")
    return [Reading(**{name: row[name] for name in kept}, why_not=_why_not(row, simulated)) for row in found]


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
