"""Corrections: every final label that a later build gives otherwise, and how often feedback was the reason.

A final label is what training takes. One that changes after that, or whose text does, or that feedback makes wait
again, is written down with what it was, what it is and why, before the new one replaces it.
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
    """Why a final label came out otherwise.

    The evidence is another and the policy the same, the other way round, both are, or neither is: then the same events
    were read otherwise, by another mapping or another release of this software.
    """

    FEEDBACK = "feedback"
    POLICY = "policy"
    BOTH = "both"
    REBUILT = "rebuilt"


_EXPLAINED = (
    Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").format(**{cause.value: cause for cause in Cause})
)
# What may have to be recorded. Of all the days, no long columns are read but the completion.
_CHANGED = """
CREATE TEMP TABLE changed AS
WITH last_recorded AS (
    SELECT * FROM corrections
    QUALIFY row_number() OVER (PARTITION BY shown_date, draft_id ORDER BY recorded_at DESC) = 1
),
final AS (
    SELECT was.shown_date, was.draft_id,
        was.label AS was_label, was.tier AS was_tier, was.weight AS was_weight, was.rule AS was_rule,
        day_policies.policy_digest AS was_policy_digest, was.as_of AS was_as_of, CAST([] AS TEXT[]) AS told,
        now.label, now.tier, now.weight, now.rule, now.state,
        was.label IS DISTINCT FROM now.label OR was.tier IS DISTINCT FROM now.tier
            OR was.weight IS DISTINCT FROM now.weight OR was.rule IS DISTINCT FROM now.rule
            OR hash(was.completion) IS DISTINCT FROM now.completion_hash AS differs
    FROM was JOIN day_policies USING (shown_date) LEFT JOIN now USING (shown_date, draft_id)
    WHERE was.state = 'final' AND was.as_of <= $as_of
),
-- What was final once and waits again, as a correction says: its last final verdict is the one that counts.
waiting AS (
    SELECT was.shown_date, was.draft_id, r.was_label, r.was_tier, r.was_weight, r.was_rule, r.was_policy_digest,
        r.was_as_of, r.new_evidence AS told, now.label, now.tier, now.weight, now.rule, now.state,
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
    """How many verdicts became final, how many of those feedback has overturned since, and their share."""

    final: int
    flipped: int
    rate: float


class RuleFlips(Flips):
    """The flips of one rule's verdicts, and which rules took its place, the most frequent first."""

    became: dict[str, int]


class FlipRate(Flips):
    """The flips of all verdicts, by the rule that had given them, and by its tier (`none` where it abstains)."""

    by_rule: dict[str, RuleFlips]
    by_tier: dict[str, Flips]


def find_corrections(
    lake: Lake, rows: pa.Table, policy: Policy, days: Sequence[date], *, as_of: datetime, run_id: str | None
) -> pa.Table:
    """The corrections that replacing the stored labels of `days` by `rows` would make.

    Only a stored label that is final is corrected: where its label, tier, weight or rule differs, where it is another
    text's, where it is gone, or where new evidence makes it wait again. That one trains no longer; if it ends with
    another verdict, this is held against the one that had been final, and recorded in its turn. Any other provisional
    label may change as it likes, and a final one that waits because a policy now waits longer is no correction. What an
    interrupted build has recorded already, and not applied, is left out.

    Args:
        lake: holds the stored labels, the ledger and the corrections.
        rows: the new labels of those days, as `feedback.labels.labels.label_parts` gives them; without texts will do.
        policy: which gave them.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime that the new labels are as of; labels as of a later moment are not corrected by them.
        run_id: of the run that builds them.

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
        # The long ones are read of the days that changed alone, which as a rule are few.
        view_stored(connection, lake, LABELS, name="was", days=changed)
        found = connection.sql(
            _EXPLAINED,
            params={"digest": policy.digest, "as_of": as_of, "recorded_at": datetime.now(UTC), "run_id": run_id},
        ).to_arrow_table()
    return found.select(CORRECTIONS.schema.names).cast(CORRECTIONS.schema)


def flip_rate(lake: Lake, *, days: Collection[date] | None = None) -> FlipRate:
    """How many verdicts that were final did feedback overturn?

    A flip is a correction by feedback alone that changed the label itself, not only its tier, weight or rule. What
    counts is what happened under the policy that a day is labelled by now: a policy that waits longer starts anew.
    The rate is flips ÷ verdicts that became final, which are those that are final now and those that were overturned.

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
    """How many corrections there ever were, by cause."""
    with lake.sql(CORRECTIONS) as connection:
        return dict(
            connection.execute("SELECT cause, count(*) FROM corrections GROUP BY cause ORDER BY cause").fetchall()
        )


# Both by rule and tier; in the first, nothing took the verdict's place.
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
