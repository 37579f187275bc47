"""The quality of labels, estimated from the verdicts on the audit sample.

Only current verdicts count (`feedback.audits.verdicts.current_verdicts`), on rows of the last drawn sample.
Simulated ones count only on request. A sample of another policy's labels does not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import duckdb
import pyarrow as pa

from feedback.audits.verdicts import ANSWERS, Origin, current_verdicts_on
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, VERDICTS
from label_policy import CLASSES, Policy, strength
from label_policy.audits.agreement import Agreement, agreement, instructive
from label_policy.audits.draw import SUSPECTED
from label_policy.audits.precision import Estimate, difference, estimate, towards

_ROUND_GAP = timedelta(days=3)
"""A longer gap between verdicts begins a new audit."""
_MANY = 1e6  # for drift, each audit's rows are a sample of all labels that the rule could give, not of the stored ones
_DIGITS = 6
_ROWS = """
SELECT draft_id, label, tier, rule, coalesce(category, 'none') AS category, stratum, stratum_size,
    coalesce(suspected, false) AS suspected, verdicts
FROM {sample} LEFT JOIN (
    SELECT draft_id, list({{
        'reviewer': reviewer, 'verdict': verdict, 'reason': reason, 'note': note, 'origin': origin
    }} ORDER BY reviewer) AS verdicts
    FROM current_verdicts GROUP BY draft_id
) USING (draft_id)
WHERE policy_digest = $digest AND stratum_size IS NOT NULL
ORDER BY draft_id
"""
# Rows count as read even if a later draw replaced them by newer drafts.
_READ = """
SELECT label, count(*) FROM {labels}
WHERE state = 'final' AND draft_id IN (
    SELECT draft_id FROM current_verdicts WHERE NOT starts_with(stratum, $suspected || '|')
)
GROUP BY label
"""
_TEXTS = "SELECT draft_id, ticket_id, shown_at, prompt, completion FROM audit_sample SEMI JOIN chosen USING (draft_id)"
_GROUPS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "label": lambda row: row["label"],
    "tier": lambda row: row["tier"],
    "label and tier": lambda row: f"{row['label']}, {row['tier']}",
    "rule": lambda row: row["rule"],
    "category": lambda row: row["category"],
}


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A rule's precision in the last audit and in those before it, and the difference with its interval."""

    rule: str
    before: Estimate
    after: Estimate
    change: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The quality of the labels.

    Attributes:
        groups: estimates by label, tier, label and tier, rule, and category. All empty where no sample of the policy's
            labels is drawn.
        read_of: labels of each class that were read, in this sample or an earlier one; suspects do not count.
        at_best: each tier's estimate if the labels of all unread rows were right.
        suspected: rows that a model's scores contradict: how many people have read (`read`), how many of the others
            are `simulated`, how many are `unread`, and how many verdicts, of people or simulated, contradict (`wrong`).
        agreement: between reviewers.
        confusion: by label and verdict (`feedback.audits.verdicts.ANSWERS`): `verdicts`, and `labels`, how many labels
            they represent.
        disagreements: the most instructive ones, with their texts.
        drift: rules that were read in the last audit and in an earlier one.
        last_audit: when the last one began; None before the first.
        simulated: whether some of the verdicts are simulated.
        tier_of: each rule's label and tier, as `groups` names them.
        rows: the sample, with the verdicts on each row.

    """

    policy: Mapping[str, Any]
    confidence: float
    groups: Mapping[str, Mapping[str, Estimate]]
    read_of: Mapping[str, int]
    at_best: Mapping[str, Estimate]
    suspected: Mapping[str, int]
    agreement: Agreement
    confusion: Sequence[Mapping[str, Any]]
    disagreements: Sequence[Mapping[str, Any]]
    drift: Sequence[Drift]
    last_audit: datetime | None
    simulated: bool
    tier_of: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def read(self) -> int:
        """Rows that people have read."""
        return sum(estimate.read for estimate in self.groups["label"].values())

    @property
    def simulated_rows(self) -> int:
        """Rows that no person has read and whose simulated verdicts count."""
        return sum(estimate.simulated for estimate in self.groups["label"].values())

    @property
    def sampled(self) -> int:
        """Rows in the sample."""
        return sum(estimate.sampled for estimate in self.groups["label"].values())

    def by_class(self, tiers: Collection[str]) -> dict[str, Estimate]:
        """Return each class's estimate from the labels of these tiers only: the part that trains."""
        return _by([row for row in self.rows if row["tier"] in tiers], _GROUPS["label"], self.confidence)

    def rule_precision(self) -> dict[str, float]:
        """Return each rule's precision, shrunk towards that of its label and tier; each row of the rule gets it."""
        wider = self.groups["label and tier"]
        precision = {rule: towards(own, wider[self.tier_of[rule]]) for rule, own in self.groups["rule"].items()}
        return {rule: round(value, _DIGITS) for rule, value in precision.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: everything but the rows and their texts."""
        values = {
            "policy": self.policy,
            "confidence": self.confidence,
            "sampled": self.sampled,
            "read": self.read,
            "simulated": self.simulated_rows,
            **{
                name.replace(" ", "_"): {value: asdict(estimate) for value, estimate in by.items()}
                for name, by in self.groups.items()
            },
            "suspected": self.suspected,
            "agreement": asdict(self.agreement),
            "confusion": self.confusion,
            "drift": [asdict(each) for each in self.drift],
            "last_audit": self.last_audit and self.last_audit.isoformat(),
        }
        return dict(rounded(values))


def measure(lake: Lake, policy: Policy, *, simulated: bool = False) -> Quality:
    """Measure the labels by the current verdicts.

    Args:
        lake: holds the sample and the verdicts.
        policy: whose labels were sampled.
        simulated: whether simulated verdicts count.

    """
    with lake.sql(AUDIT_SAMPLE) as connection:
        view_stored(connection, lake, LABELS)
        current = current_verdicts_on(connection, lake, labels=LABELS.name)
        quality = measure_sample(connection, policy, current=current, simulated=simulated)
    return replace(quality, disagreements=_with_texts(lake, quality.disagreements))


def measure_sample(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    *,
    current: pa.Table,
    labels: str = LABELS.name,
    sample: str = AUDIT_SAMPLE.name,
    simulated: bool = False,
) -> Quality:
    """Measure labels and a sample that need not be the lake's, as `measure` does; disagreements have no texts.

    Args:
        connection: sees both.
        policy: whose labels were sampled.
        current: the current verdicts on these labels.
        labels: the relation of the labels: ``draft_id``, ``label``, ``state``.
        sample: the relation of the sample: the columns of `AUDIT_SAMPLE` without texts and times.
        simulated: whether simulated verdicts count.

    """
    verdicts = [row for row in current.to_pylist() if simulated or row["origin"] != Origin.SIMULATED]
    connection.register("current_verdicts", pa.Table.from_pylist(verdicts, VERDICTS.schema))
    read_of = dict(connection.execute(_READ.format(labels=labels), {"suspected": SUSPECTED}).fetchall())
    rows = connection.sql(_ROWS.format(sample=sample), params={"digest": policy.digest}).to_arrow_table().to_pylist()
    _weigh(rows)
    confidence = policy.audit.confidence
    read = [row for row in rows if row["verdicts"]]
    last, drift = _drift(verdicts, rows, confidence)
    return Quality(
        policy={"name": policy.name, "version": policy.version, "digest": policy.digest},
        confidence=confidence,
        groups={
            name: _by(rows, value, confidence, order=strength if name == "tier" else str)
            for name, value in _GROUPS.items()
        },
        read_of={label: read_of.get(label, 0) for label in CLASSES},
        at_best=_by([{**row, "right": 1.0, "read": True} if not row["read"] else row for row in rows],
                    _GROUPS["tier"], confidence),
        suspected={
            "read": sum(row["suspected"] and not row["simulated"] for row in read),
            "simulated": sum(row["suspected"] and row["simulated"] for row in read),
            "unread": sum(row["suspected"] and not row["read"] for row in rows),
            "wrong": sum(row["suspected"] and row["right"] is not None and row["right"] < 0.5 for row in read),
        },
        agreement=agreement(
            (row["draft_id"], verdict["reviewer"], verdict["verdict"]) for row in read for verdict in row["verdicts"]
        ),
        confusion=_confusion(read),
        disagreements=instructive(read),
        drift=drift,
        last_audit=last,
        simulated=any(verdict["origin"] == Origin.SIMULATED for row in read for verdict in row["verdicts"]),
        tier_of={row["rule"]: _GROUPS["label and tier"](row) for row in rows},
        rows=rows,
    )  # fmt: skip


def rounded(value: Any) -> Any:  # noqa: ANN401 - JSON's values
    """Return JSON values with floats rounded to six digits, so that they are the same on every machine."""
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def _weigh(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each row the verdicts on its label, and how many labels it represents if it was read."""
    drawn = Counter(row["stratum"] for row in rows)
    for row in rows:
        row["verdicts"] = row["verdicts"] or []
        decided = [verdict["verdict"] for verdict in row["verdicts"] if verdict["verdict"] in CLASSES]
        row["read"] = bool(row["verdicts"])
        row["simulated"] = any(verdict["origin"] == Origin.SIMULATED for verdict in row["verdicts"])
        row["right"] = sum(kind == row["label"] for kind in decided) / len(decided) if decided else None
        row["drawn_of"] = drawn[row["stratum"]]
    read = Counter(row["stratum"] for row in rows if row["read"])
    for row in rows:
        row["stands_for"] = row["stratum_size"] / read[row["stratum"]] if row["read"] else 0.0


def _by(
    rows: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], str],
    confidence: float,
    order: Callable[[str], Any] = str,
) -> dict[str, Estimate]:
    """Return each value's estimate. A stratum with several values is divided in proportion to its drawn rows."""
    parts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        parts[value(row)].append(row)
    estimates = {}
    for name, part in sorted(parts.items(), key=lambda item: order(item[0])):
        drawn = Counter(row["stratum"] for row in part)
        estimates[name] = estimate(
            [row["stratum"] for row in part],
            [row["stratum_size"] * drawn[row["stratum"]] / row["drawn_of"] for row in part],
            [row["right"] for row in part],
            [row["read"] for row in part],
            simulated=[row["simulated"] for row in part],
            confidence=confidence,
        )
    return estimates


def _confusion(read: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    verdicts: Counter[tuple[str, str]] = Counter()
    labels: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in read:
        for verdict in row["verdicts"]:
            verdicts[row["label"], verdict["verdict"]] += 1
            labels[row["label"], verdict["verdict"]] += row["stands_for"] / len(row["verdicts"])
    return [
        {
            "label": label,
            "people": people,
            "verdicts": verdicts[label, people],
            "labels": round(labels[label, people], 1),
        }
        for label in CLASSES
        for people in ANSWERS
    ]


def _with_texts(lake: Lake, chosen: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not chosen:
        return []
    ids = pa.table({"draft_id": [row["draft_id"] for row in chosen]})
    with lake.sql(AUDIT_SAMPLE, chosen=ids) as connection:
        texts = {row["draft_id"]: row for row in connection.sql(_TEXTS).to_arrow_table().to_pylist()}
    return [{**row, **texts[row["draft_id"]]} for row in chosen]


def _drift(
    verdicts: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], confidence: float
) -> tuple[datetime | None, list[Drift]]:
    """Return when the last audit began, and each rule's change since the audits before it.

    The last audit is the verdicts after the last gap of three days. Rules are matched by name. Both sides are weighted
    by the strata of now, so that a sample drawn in another way does not look like a change. Confidence is shared among
    the rules (Bonferroni).
    """
    moments = sorted({verdict["recorded_at"] for verdict in verdicts})
    starts = [after for before, after in pairwise(moments) if after - before > _ROUND_GAP]
    if not starts:
        return (moments[0] if moments else None), []
    sizes = {row["stratum"]: row["stratum_size"] for row in rows if not row["suspected"]}
    sides: defaultdict[str, tuple[dict[str, list[Any]], dict[str, list[Any]]]] = defaultdict(lambda: ({}, {}))
    for verdict in verdicts:
        if verdict["stratum"] in sizes and verdict["verdict"] in CLASSES:
            by_draft = sides[verdict["rule"]][verdict["recorded_at"] >= starts[-1]]
            by_draft.setdefault(verdict["draft_id"], []).append(verdict)
    both = {rule: side for rule, side in sides.items() if all(side)}
    drift = []
    for rule, side in sorted(both.items()):
        before, after = (
            estimate(
                [votes[0]["stratum"] for votes in part.values()],
                [sizes[votes[0]["stratum"]] * _MANY for votes in part.values()],
                [sum(each["verdict"] == each["label"] for each in votes) / len(votes) for votes in part.values()],
                [True] * len(part),
                simulated=[any(each["origin"] == Origin.SIMULATED for each in votes) for votes in part.values()],
                confidence=1 - (1 - confidence) / len(both),
            )
            for part in side
        )
        interval = difference(before, after)
        assert interval is not None
        change, low, high = interval
        drift.append(Drift(rule=rule, before=before, after=after, change=change, low=low, high=high))
    return starts[-1], drift
