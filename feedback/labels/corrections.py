"""Corrections: every final label that a later build changes, and how often feedback was the cause.

Training uses final labels. If a later build changes one, or its text, or makes it provisional again, the old label,
the new label and the cause are recorded before the new one replaces it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypedDict

import pyarrow as pa

from feedback.labels.ledger import view_day_policies
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import CORRECTIONS, LABELS, LEDGER
from label_policy import Policy, strength


class Cause(StrEnum):
    """Why a final label changed.

    Only the evidence changed, only the policy, both, or neither: then another mapping or another release of this
    software read the same events differently.
    """

    FEEDBACK = "feedback"
    POLICY = "policy"
    BOTH = "both"
    REBUILT = "rebuilt"


_EXPLAINED = (
    Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").format(**{cause.value: cause for cause in Cause})
)
# Labels that may need a correction. Over all days, the completion is the only long column that is read.
_CHANGED = """
CREATE TEMP TABLE changed AS
WITH last_recorded AS (
    SELECT * FROM corrections
    QUALIFY row_number() OVER (PARTITION BY shown_date, draft_id ORDER BY recorded_at DESC) = 1
),
final AS (
    SELECT was.shown_date, was.draft_id,
        was.label AS was_label, was.tier AS was_tier, was.weight AS was_weight, was.rule AS was_rule,
        day_policies.policy_digest AS was_policy_digest, was.as_of AS was_as_of, CAST([] AS TEXT[]) AS earlier_evidence,
        now.label, now.tier, now.weight, now.rule, now.state,
        was.label IS DISTINCT FROM now.label OR was.tier IS DISTINCT FROM now.tier
            OR was.weight IS DISTINCT FROM now.weight OR was.rule IS DISTINCT FROM now.rule
            OR hash(was.completion) IS DISTINCT FROM now.completion_hash AS differs
    FROM was JOIN day_policies USING (shown_date) LEFT JOIN now USING (shown_date, draft_id)
    WHERE was.state = 'final' AND was.as_of <= $as_of
),
-- Labels that were final and, as a correction records, wait again: they are compared with their last final label.
waiting AS (
    SELECT was.shown_date, was.draft_id, r.was_label, r.was_tier, r.was_weight, r.was_rule, r.was_policy_digest,
        r.was_as_of, r.new_evidence AS earlier_evidence, now.label, now.tier, now.weight, now.rule, now.state,
        now.state IS DISTINCT FROM 'provisional' AND (
            r.label IS DISTINCT FROM now.label OR r.tier IS DISTINCT FROM now.tier
            OR r.weight IS DISTINCT FROM now.weight OR r.rule IS DISTINCT FROM now.rule
        ) AS differs
    FROM was JOIN last_recorded AS r USING (shown_date, draft_id) LEFT JOIN now USING (shown_date, draft_id)
    WHERE was.state = 'provisional' AND r.state = 'provisional' AND was.as_of <= $as_of
)
FROM final WHERE differs OR state = 'provisional'
UNION ALL
FROM waiting WHERE differs
"""


class Flips(TypedDict):
    """How many labels became final, how many of those feedback has overturned since, and their share."""

    final: int
    flipped: int
    rate: float


class RuleFlips(Flips):
    """The flips of one rule's labels, and the rules that replaced it, the most frequent first."""

    became: dict[str, int]


class FlipRate(Flips):
    """The flips of all labels, by the rule that gave them, and by its tier (`none` where it abstains)."""

    by_rule: dict[str, RuleFlips]
    by_tier: dict[str, Flips]


def find_corrections(
    lake: Lake, rows: pa.Table, policy: Policy, days: Sequence[date], *, as_of: datetime, run_id: str | None
) -> pa.Table:
    """Return the corrections if `rows` replace the stored labels of `days`.

    Only a final stored label is corrected: if its label, tier, weight or rule changes, if its text changes, if it is
    gone, or if new evidence makes it provisional again. A label that is provisional again does not train; when it is
    final, it is compared with the earlier final one and recorded too. Other provisional labels may change freely, and
    a final one that waits because the policy now waits longer is no correction. Corrections that an interrupted build
    recorded, but did not apply, are left out.

    Args:
        lake: holds the stored labels, the ledger and the corrections.
        rows: the new labels of those days, as from `feedback.labels.labels.label_parts`; texts are not needed.
        policy: the policy that gave them.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime that the new labels are as of; they do not correct labels as of a later moment.
        run_id: id of the run that builds them.

    Returns:
        A table in the schema of `CORRECTIONS`.

    """
    with lake.sql(CORRECTIONS, LEDGER, now=rows) as connection:
        view_stored(connection, lake, LABELS, name="was", days=days)
        view_day_policies(connection, labels="was")
        connection.execute(_CHANGED, {"as_of": as_of})
        changed = [day for (day,) in connection.execute("SELECT DISTINCT shown_date FROM changed").fetchall()]
        if not changed:
            return CORRECTIONS.schema.empty_table()
        # Long columns are read only for the changed days, which are few as a rule.
        view_stored(connection, lake, LABELS, name="was", days=changed)
        corrections = connection.sql(
            _EXPLAINED,
            params={"digest": policy.digest, "as_of": as_of, "recorded_at": datetime.now(UTC), "run_id": run_id},
        ).to_arrow_table()
    return corrections.select(CORRECTIONS.schema.names).cast(CORRECTIONS.schema)


def flip_rate(lake: Lake, *, days: Collection[date] | None = None) -> FlipRate:
    """Return how many final labels feedback overturned.

    A flip is a correction by feedback alone that changed the label itself, not only its tier, weight or rule. Only
    flips under the policy that now labels the day count: a policy that waits longer starts at zero. The rate is flips ÷
    labels that became final: those that are final now and those that were overturned.

    Args:
        lake: holds the labels and the corrections.
        days: UTC dates on which the drafts were shown; by default all.

    """
    with lake.sql(CORRECTIONS) as connection:
        view_stored(connection, lake, LABELS, days=days)
        finals = connection.execute(_FINAL_COUNTS).fetchall()
        flips = connection.execute(_FLIPS).fetchall()
    rules = sorted({row[0] for row in finals + flips})
    tiers = sorted({row[1] for row in finals + flips}, key=strength)
    return {
        **_share(finals, flips),
        "by_rule": {rule: _rule_share(rule, finals, flips) for rule in rules},
        "by_tier": {
            tier: _share(*([row for row in rows if row[1] == tier] for rows in (finals, flips))) for tier in tiers
        },
    }


def count_causes(lake: Lake) -> dict[str, int]:
    """Return how many corrections were ever recorded, by cause."""
    with lake.sql(CORRECTIONS) as connection:
        return dict(
            connection.execute("SELECT cause, count(*) FROM corrections GROUP BY cause ORDER BY cause").fetchall()
        )


# Both by rule and tier; the third column is the rule that replaced the label's, NULL in the first query.
_FINAL_COUNTS = "SELECT rule, coalesce(tier, 'none'), NULL, count(*) FROM labels WHERE state = 'final' GROUP BY ALL"
_FLIPS = f"""
SELECT was_rule, coalesce(was_tier, 'none'), coalesce(rule, 'gone'), count(*) FROM (
    SELECT DISTINCT shown_date, draft_id, was_as_of, was_rule, was_tier, rule
    FROM corrections SEMI JOIN labels USING (shown_date, policy_digest)
    WHERE cause = '{Cause.FEEDBACK}' AND label IS DISTINCT FROM was_label
) GROUP BY ALL ORDER BY count(*) DESC, 1, 2, 3
"""
_Counts = list[tuple[str, str, str | None, int]]


def _share(finals: _Counts, flips: _Counts) -> Flips:
    flipped = sum(count for *_, count in flips)
    final = flipped + sum(count for *_, count in finals)
    return {"final": final, "flipped": flipped, "rate": flipped / final if final else 0.0}


def _rule_share(rule: str, finals: _Counts, flips: _Counts) -> RuleFlips:
    finals, flips = ([row for row in rows if row[0] == rule] for rows in (finals, flips))
    became: dict[str, int] = {}
    for _, _, new, count in flips:
        became[str(new)] = became.get(str(new), 0) + count
    return {**_share(finals, flips), "became": became}
