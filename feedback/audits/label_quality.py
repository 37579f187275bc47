"""The quality of labels, estimated from the verdicts on the audit sample.

Only current verdicts count (`feedback.audits.verdicts.current_verdicts`), on rows of the sample as it was last drawn.
Simulated ones count only on request. A sample of another policy's labels says nothing of this one's.
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

from feedback.audits.verdicts import GIVEN, Origin, current_verdicts_on
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, VERDICTS
from label_policy import CLASSES, Policy, strength
from label_policy.audits.agreement import Agreement, agreement, instructive
from label_policy.audits.draw import SUSPECTED
from label_policy.audits.precision import Estimate, difference, estimate, towards

_ROUND_GAP = timedelta(days=3)
"""Verdicts that so long passed between belong to different audits."""
_MANY = 1e6  # for drift, each audit's rows are a sample of what the rule gives, not of the labels there are
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
# Rows that a later draw left out again, because newer drafts took their places, have been read all the same.
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
    """A rule's precision in the audits before the last, and in the last; the difference with its interval."""

    rule: str
    before: Estimate
    after: Estimate
    change: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What is known of the labels.

    Attributes:
        groups: by label, tier, label and tier, rule, and category: each value's estimate. All empty where no sample of
            the policy's labels is drawn.
        read_of: how many labels of each class were read, in this sample or for an earlier one, and not as suspects.
        at_best: by tier, what would be found if the labels of all rows still unread were right.
        suspected: of the rows that a model's scores spoke against, how many people have read (`read`), how many of the
            others are `simulated`, how many are `unread`, and how many people or simulated ones contradict (`wrong`).
        agreement: between reviewers.
        confusion: by label and what people say (`feedback.audits.verdicts.GIVEN`): `verdicts`, and `labels`, how
            many labels they stand for.
        disagreements: the most instructive ones, with their texts.
        drift: rules that were read in the last audit and in one before.
        last_audit: when the last one began; None before the first.
        simulated: whether nobody gave some of the verdicts.
        tier_of: each rule's label and tier, as `groups` names them.
        rows: the sample, with what its readers say of each row.

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
        return sum(found.read for found in self.groups["label"].values())

    @property
    def simulated_rows(self) -> int:
        """Rows that nobody has read and whose simulated verdicts count."""
        return sum(found.simulated for found in self.groups["label"].values())

    @property
    def sampled(self) -> int:
        """Rows that people are asked to read."""
        return sum(found.sampled for found in self.groups["label"].values())

    def by_class(self, tiers: Collection[str]) -> dict[str, Estimate]:
        """The estimate of each class, of the labels of these tiers alone: what of it trains."""
        return _by([row for row in self.rows if row["tier"] in tiers], _GROUPS["label"], self.confidence)

    def rule_precision(self) -> dict[str, float]:
        """Each rule's precision, drawn towards that of its label and tier: what a row's own is taken to be."""
        wider = self.groups["label and tier"]
        found = {rule: towards(own, wider[self.tier_of[rule]]) for rule, own in self.groups["rule"].items()}
        return {rule: round(value, _DIGITS) for rule, value in found.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """JSON values: everything but the rows and their texts."""
        said = {
            "policy": self.policy,
            "confidence": self.confidence,
            "sampled": self.sampled,
            "read": self.read,
            "simulated": self.simulated_rows,
            **{
                name.replace(" ", "_"): {value: asdict(found) for value, found in by.items()}
                for name, by in self.groups.items()
            },
            "suspected": self.suspected,
            "agreement": asdict(self.agreement),
            "confusion": self.confusion,
            "drift": [asdict(each) for each in self.drift],
            "last_audit": self.last_audit and self.last_audit.isoformat(),
        }
        return dict(rounded(said))


def measure(lake: Lake, policy: Policy, *, simulated: bool = False) -> Quality:
    """Measure the labels by the verdicts at hand.

    Args:
        lake: holds the sample and the verdicts.
        policy: whose labels were sampled.
        simulated: whether verdicts that nobody gave count.

    """
    with lake.sql(AUDIT_SAMPLE) as connection:
        view_stored(connection, lake, LABELS)
        read = current_verdicts_on(connection, lake, labels=LABELS.name)
        quality = measure_sample(connection, policy, read=read, simulated=simulated)
    return replace(quality, disagreements=_with_texts(lake, quality.disagreements))


def measure_sample(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    *,
    read: pa.Table,
    labels: str = LABELS.name,
    sample: str = AUDIT_SAMPLE.name,
    simulated: bool = False,
) -> Quality:
    """As `measure`, of labels and a sample of them that need not be the lake's; disagreements come without texts.

    Args:
        connection: sees both.
        policy: whose labels were sampled.
        read: the verdicts that stand on these labels.
        labels: the name of the labels: ``draft_id``, ``label``, ``state``.
        sample: the name of the sample: what of `AUDIT_SAMPLE` is neither text nor time.
        simulated: whether verdicts that nobody gave count.

    """
    verdicts = [row for row in read.to_pylist() if simulated or row["origin"] != Origin.SIMULATED]
    connection.register("current_verdicts", pa.Table.from_pylist(verdicts, VERDICTS.schema))
    read_of = dict(connection.execute(_READ.format(labels=labels), {"suspected": SUSPECTED}).fetchall())
    rows = connection.sql(_ROWS.format(sample=sample), params={"digest": policy.digest}).to_arrow_table().to_pylist()
    _weigh(rows)
    confidence = policy.audit.confidence
    given = [row for row in rows if row["verdicts"]]
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
            "read": sum(row["suspected"] and not row["simulated"] for row in given),
            "simulated": sum(row["suspected"] and row["simulated"] for row in given),
            "unread": sum(row["suspected"] and not row["read"] for row in rows),
            "wrong": sum(row["suspected"] and row["right"] is not None and row["right"] < 0.5 for row in given),
        },
        agreement=agreement(
            (row["draft_id"], said["reviewer"], said["verdict"]) for row in given for said in row["verdicts"]
        ),
        confusion=_confusion(given),
        disagreements=instructive(given),
        drift=drift,
        last_audit=last,
        simulated=any(said["origin"] == Origin.SIMULATED for row in given for said in row["verdicts"]),
        tier_of={row["rule"]: _GROUPS["label and tier"](row) for row in rows},
        rows=rows,
    )  # fmt: skip


def rounded(value: Any) -> Any:  # noqa: ANN401 - JSON's values
    """JSON values whose floats are cut to six digits, so that they are the same on every machine."""
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def _weigh(rows: Sequence[dict[str, Any]]) -> None:
    """Give each row what its readers say of its label, and how many labels it stands for if it was read."""
    drawn = Counter(row["stratum"] for row in rows)
    for row in rows:
        row["verdicts"] = row["verdicts"] or []
        decided = [said["verdict"] for said in row["verdicts"] if said["verdict"] in CLASSES]
        row["read"] = bool(row["verdicts"])
        row["simulated"] = any(said["origin"] == Origin.SIMULATED for said in row["verdicts"])
        row["right"] = sum(said == row["label"] for said in decided) / len(decided) if decided else None
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
    """The estimate of each value. Where it cuts through a stratum, that is parted as its drawn rows are."""
    parts: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        parts[value(row)].append(row)
    found = {}
    for name, part in sorted(parts.items(), key=lambda item: order(item[0])):
        here = Counter(row["stratum"] for row in part)
        found[name] = estimate(
            [row["stratum"] for row in part],
            [row["stratum_size"] * here[row["stratum"]] / row["drawn_of"] for row in part],
            [row["right"] for row in part],
            [row["read"] for row in part],
            simulated=[row["simulated"] for row in part],
            confidence=confidence,
        )
    return found


def _confusion(read: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    verdicts: Counter[tuple[str, str]] = Counter()
    labels: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in read:
        for said in row["verdicts"]:
            verdicts[row["label"], said["verdict"]] += 1
            labels[row["label"], said["verdict"]] += row["stands_for"] / len(row["verdicts"])
    return [
        {
            "label": label,
            "people": people,
            "verdicts": verdicts[label, people],
            "labels": round(labels[label, people], 1),
        }
        for label in CLASSES
        for people in GIVEN
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
    """What changed since the audits before the last: the verdicts since the last time that three days went without any.

    A rule is the same by its name; both sides are weighted by the strata as they are now, so that a sample that was
    drawn otherwise is not taken for a change. Confidence is shared among the rules (Bonferroni).
    """
    moments = sorted({said["recorded_at"] for said in verdicts})
    starts = [after for before, after in pairwise(moments) if after - before > _ROUND_GAP]
    if not starts:
        return (moments[0] if moments else None), []
    sizes = {row["stratum"]: row["stratum_size"] for row in rows if not row["suspected"]}
    sides: defaultdict[str, tuple[dict[str, list[Any]], dict[str, list[Any]]]] = defaultdict(lambda: ({}, {}))
    for said in verdicts:
        if said["stratum"] in sizes and said["verdict"] in CLASSES:
            since = sides[said["rule"]][said["recorded_at"] >= starts[-1]]
            since.setdefault(said["draft_id"], []).append(said)
    both = {rule: side for rule, side in sides.items() if all(side)}
    found = []
    for rule, side in sorted(both.items()):
        before, after = (
            estimate(
                [said[0]["stratum"] for said in part.values()],
                [sizes[said[0]["stratum"]] * _MANY for said in part.values()],
                [sum(each["verdict"] == each["label"] for each in said) / len(said) for said in part.values()],
                [True] * len(part),
                simulated=[any(each["origin"] == Origin.SIMULATED for each in said) for said in part.values()],
                confidence=1 - (1 - confidence) / len(both),
            )
            for part in side
        )
        moved = difference(before, after)
        assert moved is not None
        found.append(Drift(rule=rule, before=before, after=after, change=moved[0], low=moved[1], high=moved[2]))
    return starts[-1], found
