"""Compare two relations of labels row by row and count the effect of a policy change, without writing anything.

Each relation is read once, with few columns, and the two are joined into *cells*: rows of one day and category with the
same verdict and state before and the same after. All counts come from the cells, which are few. Each cell keeps the ids
of rows that change, so an applied change can be compared with its plan row by row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from label_policy.policy.fields import Label, Tier
from label_policy.policy.sections import Training

KINDS = ("label", "appears", "vanishes", "tier", "weight", "rule", "maturity")
"""Kinds of change of a row, the gravest first: its label, its existence, its tier, weight, rule, or maturity time.
A row counts once, under the first kind that applies. Its state follows from the maturity time and the present time."""

NO_ROW = "none"
"""The label, tier and rule shown for a row that exists only on the other side."""

NO_TIER = "no tier"
"""The tier shown for a row that abstains."""

# Cells keep the ids of changed rows only; the others are counted.
_CELLS = """
CREATE OR REPLACE TEMP TABLE cells AS
SELECT * EXCLUDE (draft_id, before_matures_at, after_matures_at),
    count(*) AS rows,
    list({{'draft_id': draft_id, 'before_matures_at': before_matures_at, 'after_matures_at': after_matures_at}})
        FILTER (kind IS NOT NULL) AS drafts
FROM (
    SELECT
        coalesce(b.shown_date, a.shown_date) AS shown_date,
        coalesce(b.draft_id, a.draft_id) AS draft_id,
        coalesce(a.category, b.category) AS category,
        b.rule AS before_rule, b.label AS before_label, b.tier AS before_tier, b.weight AS before_weight,
        b.matures_at AS before_matures_at, b.state AS before_state, b.policy_digest AS before_digest,
        a.rule AS after_rule, a.label AS after_label, a.tier AS after_tier, a.weight AS after_weight,
        a.matures_at AS after_matures_at, a.state AS after_state,
        CASE
            WHEN b.label <> a.label THEN 'label'
            WHEN b.label IS NULL THEN 'appears'
            WHEN a.label IS NULL THEN 'vanishes'
            WHEN b.tier IS DISTINCT FROM a.tier THEN 'tier'
            WHEN b.weight IS DISTINCT FROM a.weight THEN 'weight'
            WHEN b.rule IS DISTINCT FROM a.rule THEN 'rule'
            WHEN b.matures_at IS DISTINCT FROM a.matures_at THEN 'maturity'
        END AS kind
    FROM {before} AS b FULL JOIN {after} AS a ON b.shown_date = a.shown_date AND b.draft_id = a.draft_id
)
GROUP BY ALL
"""
_CHANGES = """
CREATE OR REPLACE TEMP VIEW changes AS
SELECT
    shown_date, drafts.draft_id, category, kind,
    before_rule, before_label, before_tier, before_weight, drafts.before_matures_at,
    after_rule, after_label, after_tier, after_weight, drafts.after_matures_at
FROM (SELECT * REPLACE (unnest(drafts) AS drafts) FROM cells WHERE kind IS NOT NULL)
"""
# Only draft ids may contain any character, so the length is hashed too. Sums do not depend on the order of rows.
_FINGERPRINT = """
SELECT count(*), sum(md5_number_lower(row)), sum(md5_number_upper(row)) FROM (
    SELECT concat_ws('|', shown_date, length(draft_id), draft_id, {verdicts}) AS row FROM changes
)
"""
_VERDICTS = ", ".join(
    f"coalesce(CAST({value} AS TEXT), '')"
    for side in ("before", "after")
    for value in (
        f"{side}_rule", f"{side}_label", f"{side}_tier", f"{side}_weight", f"epoch_us({side}_matures_at)"
    )
)  # fmt: skip

# A day is relabelled as a whole: on days with changes, rows that keep their verdict take the present state too.
_OUTCOMES = """
CREATE OR REPLACE TEMP TABLE outcomes AS
WITH settled AS (
    SELECT * EXCLUDE (drafts) REPLACE (
        CASE WHEN bool_or(kind IS NOT NULL) OVER (PARTITION BY shown_date) THEN after_state ELSE before_state END
            AS after_state
    ) FROM cells
)
SELECT settled.*,
    CASE WHEN before_state = 'final' AND before_label <> 'abstain' AND before_weight * coalesce(b.factor, 1) > 0
        AND NOT list_contains($excluded_before, before_tier) THEN before_label END AS before_trains,
    CASE WHEN after_state = 'final' AND after_label <> 'abstain' AND after_weight * a.factor > 0
        AND NOT list_contains($excluded_after, after_tier) THEN after_label END AS after_trains
FROM settled
LEFT JOIN factors AS b ON b.policy_digest = before_digest AND b.tier = before_tier
LEFT JOIN factors AS a ON a.policy_digest IS NULL AND a.tier = after_tier
"""

_FLIPS = """
SELECT {before} AS before, {after} AS after, CAST(sum(rows) AS BIGINT) AS rows
FROM outcomes GROUP BY ALL ORDER BY ALL
"""
_LABEL = f"coalesce({{side}}_label, '{NO_ROW}')"
_TIER = f"CASE WHEN {{side}}_label IS NULL THEN '{NO_ROW}' ELSE coalesce({{side}}_tier, '{NO_TIER}') END"
_TRAINS = "{side}_trains"

_TOTALS = """
SELECT
    CAST(coalesce(sum(rows), 0) AS BIGINT) AS rows,
    CAST(coalesce(sum(rows) FILTER (kind IS NOT NULL), 0) AS BIGINT) AS changed,
    CAST(coalesce(sum(rows) FILTER (before_state = 'final'), 0) AS BIGINT) AS final_before,
    CAST(coalesce(sum(rows) FILTER (after_state = 'final'), 0) AS BIGINT) AS final_after,
    CAST(coalesce(sum(rows) FILTER (kind IS NULL AND before_state <> after_state), 0) AS BIGINT) AS ripened
FROM outcomes
"""
_BY_KIND = """
SELECT kind, CAST(sum(rows) AS BIGINT) FROM outcomes WHERE kind IS NOT NULL GROUP BY kind
"""
_BY_DAY = """
SELECT shown_date AS day, CAST(sum(rows) AS BIGINT) AS rows,
    CAST(coalesce(sum(rows) FILTER (kind IS NOT NULL), 0) AS BIGINT) AS changed
FROM outcomes GROUP BY shown_date ORDER BY shown_date
"""
_BY_RULE = """
WITH sides AS (
    SELECT before_rule AS rule, rows AS before, 0 AS after,
        CASE WHEN before_rule IS DISTINCT FROM after_rule THEN rows ELSE 0 END AS lost, 0 AS gained
    FROM outcomes WHERE before_rule IS NOT NULL
    UNION ALL
    SELECT after_rule, 0, rows, 0, CASE WHEN before_rule IS DISTINCT FROM after_rule THEN rows ELSE 0 END
    FROM outcomes WHERE after_rule IS NOT NULL
)
SELECT rule, CAST(sum(before) AS BIGINT) AS before, CAST(sum(after) AS BIGINT) AS after,
    CAST(sum(lost) AS BIGINT) AS lost, CAST(sum(gained) AS BIGINT) AS gained
FROM sides GROUP BY rule ORDER BY sum(lost) + sum(gained) DESC, rule
"""
_FLOWS = f"""
SELECT kind, coalesce(before_rule, '{NO_ROW}') AS before_rule, coalesce(before_label, '{NO_ROW}') AS before_label,
    coalesce(after_rule, '{NO_ROW}') AS after_rule, coalesce(after_label, '{NO_ROW}') AS after_label,
    before_tier, before_weight, after_tier, after_weight, CAST(sum(rows) AS BIGINT) AS rows
FROM outcomes WHERE kind IS NOT NULL GROUP BY ALL ORDER BY 10 DESC, 1, 2, 3, 4, 5, 6, 7, 8, 9
"""
_BY_CATEGORY = """
SELECT category, CAST(sum(rows) AS BIGINT) AS rows,
    CAST(coalesce(sum(rows) FILTER (kind IS NOT NULL), 0) AS BIGINT) AS changed,
    {counts}
FROM outcomes GROUP BY category ORDER BY changed DESC, rows DESC, category
"""
_CATEGORY_COUNTS = ", ".join(
    f"CAST(coalesce(sum(rows) FILTER ({side}_label = '{label}'), 0) AS BIGINT) AS {label}_{side}"
    for label in Label
    for side in ("before", "after")
)

# As in `label_policy.audits.draw`: a hash gives each draft its place, and arg_min keeps the first of each stratum in
# a heap.
# Maturity times follow from a window and hardly differ by rule, so this kind is one stratum.
_EXAMPLES = """
WITH strata AS (
    SELECT kind, CASE WHEN kind <> 'maturity' THEN before_rule END AS old,
        CASE WHEN kind <> 'maturity' THEN after_rule END AS new, count(*) AS size,
        arg_min(changes, md5(draft_id), $count) AS first
    FROM changes GROUP BY ALL
),
turns AS (
    SELECT * EXCLUDE (first), list_position($kinds, kind) AS grave, unnest(first) AS example,
        unnest(range(len(first))) AS turn, max(size) OVER (PARTITION BY kind) = size AS commonest
    FROM strata
),
drawn AS (
    SELECT * FROM turns ORDER BY turn, NOT commonest, grave, size DESC, old, new LIMIT $count
)
SELECT example.* FROM drawn ORDER BY grave, size DESC, old, new, turn
"""


class Comparison:
    """A comparison of two relations of labels; one per connection, because it uses temporary tables there.

    Args:
        connection: sees both relations, and keeps time in UTC.
        before: the name of a relation with the columns ``shown_date, draft_id, category, rule, label, tier, weight,
            matures_at, state, policy_digest``. Day and id identify a row.
        after: the name of the relation to compare with.

    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, before: str, after: str) -> None:
        self._connection = connection
        connection.execute(_CELLS.format(before=before, after=after))
        connection.execute(_CHANGES)

    def changes(self) -> pa.Table:
        """Return one row per changed label: day, id, category, kind of change, and verdict before and after."""
        return self._connection.sql("SELECT * FROM changes").to_arrow_table()

    def fingerprint(self) -> str:
        """Return a hash, 64 hex digits, of the days, ids and verdicts of the changed rows, before and after.

        Comparisons with the same hash change the same rows in the same way, in any order.
        """
        parts = self._connection.execute(_FINGERPRINT.format(verdicts=_VERDICTS)).fetchall()[0]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def examples(self, count: int) -> list[dict[str, Any]]:
        """Return up to `count` of `changes`, spread over kinds of change and the rules that decided before and after.

        Every kind appears, the gravest first, and common kinds more often; the same changes give the same rows.
        """
        return self._rows(_EXAMPLES, {"count": count, "kinds": list(KINDS)})

    def figures(
        self,
        *,
        before: Mapping[str, Training],
        after: Training,
        excluded_before: Collection[str] = (),
        excluded_after: Collection[str] = (),
    ) -> dict[str, Any]:
        """Return all counts as plain values.

        Args:
            before: training sections by the digest of a label's policy; labels of an unknown digest all train.
            after: training section after the change.
            excluded_before: tiers that do not train before the change, even if the policies say so.
            excluded_after: tiers that do not train after it.

        Returns:
            ``rows`` (of either side), ``changed``, ``final_before``, ``final_after``, ``ripened`` (rows that keep their
            verdict and change state, because their day is relabelled and time has passed), ``kinds`` (rows by
            kind of change), ``labels`` and ``tiers`` (the flip matrices: before, after, rows), ``rules`` (before,
            after, lost, gained), ``flows`` (changed rows by verdict before and after), ``categories``, ``days``,
            and ``training``: rows by the class they train as before and after (None: they do not train).

        """
        self._connection.register("factors", _factors(before, after))
        excluded = {"excluded_before": [*excluded_before], "excluded_after": [*excluded_after]}
        self._connection.execute(_OUTCOMES, excluded)
        by_kind = dict(self._connection.execute(_BY_KIND).fetchall())
        return {
            **self._rows(_TOTALS)[0],
            "kinds": {kind: by_kind[kind] for kind in KINDS if kind in by_kind},
            "labels": self._flips(_LABEL),
            "tiers": self._flips(_TIER),
            "rules": self._rows(_BY_RULE),
            "flows": self._rows(_FLOWS),
            "categories": self._rows(_BY_CATEGORY.format(counts=_CATEGORY_COUNTS)),
            "days": self._rows(_BY_DAY),
            "training": self._flips(_TRAINS),
        }

    def _flips(self, value: str) -> list[dict[str, Any]]:
        return self._rows(_FLIPS.format(before=value.format(side="before"), after=value.format(side="after")))

    def _rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._connection.sql(sql, params=parameters).to_arrow_table().to_pylist()
        return rows


def _factors(before: Mapping[str, Training], after: Training) -> pa.Table:
    """Return the factor on weights by digest (null: after) and tier; 0 where the tier does not train."""
    sections: list[tuple[str | None, Training]] = [*before.items(), (None, after)]
    rows = [
        {"policy_digest": digest, "tier": tier.value, "factor": training.factors().get(tier, 0.0)}
        for digest, training in sections
        for tier in Tier
    ]
    schema = pa.schema([("policy_digest", pa.string()), ("tier", pa.string()), ("factor", pa.float64())])
    return pa.Table.from_pylist(rows, schema)
