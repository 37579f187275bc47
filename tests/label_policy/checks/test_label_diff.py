"""The comparison of two relations of labels, tested against a row-by-row comparison in plain Python."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import Tier, Training
from label_policy.checks.label_diff import KINDS, NO_ROW, NO_TIER, Comparison

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("shown_date", pa.date32()), ("draft_id", pa.string()), ("category", pa.string()), ("rule", pa.string()),
        ("label", pa.string()), ("tier", pa.string()), ("weight", pa.float64()),
        ("matures_at", pa.timestamp("us", "UTC")), ("state", pa.string()), ("policy_digest", pa.string()),
    ]
)  # fmt: skip
VERDICT = ("rule", "label", "tier", "weight", "matures_at")
VERDICTS = [
    ("accepted", "desirable", "strong", 1.0),
    ("accepted", "desirable", "weak", 1.0),
    ("accepted", "desirable", "weak", 0.0),
    ("sent", "desirable", "strong", 1.0),
    ("rejected", "undesirable", "strong", 1.0),
    ("no_rule", "abstain", None, 0.0),
]
Row = dict[str, Any]

keys = st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", "a|b", "1|a", "a\nb", "ä", ""]))
rows = st.fixed_dictionaries(
    {
        "verdict": st.sampled_from(VERDICTS),
        "category": st.sampled_from(["billing", None]),
        "late": st.integers(0, 1),
        "state": st.sampled_from(["final", "provisional"]),
    }
)
relations = st.dictionaries(keys, rows, max_size=12)


def relation(drawn: dict[tuple[int, str], Row], digest: str) -> list[Row]:
    return [
        {
            "shown_date": date(2026, 3, 2) + timedelta(days=day), "draft_id": draft, "category": row["category"],
            **dict(zip(VERDICT, row["verdict"], strict=False)), "matures_at": NOON + timedelta(days=row["late"]),
            "state": row["state"], "policy_digest": digest,
        }
        for (day, draft), row in drawn.items()
    ]  # fmt: skip


CONNECTION = duckdb.connect()
CONNECTION.execute("SET TimeZone = 'UTC'; SET threads = 1")


def compared(before: list[Row], after: list[Row]) -> Comparison:
    CONNECTION.register("old", pa.Table.from_pylist(before, SCHEMA))
    CONNECTION.register("new", pa.Table.from_pylist(after, SCHEMA))
    return Comparison(CONNECTION, before="old", after="new")


def key(row: Row) -> tuple[date, str]:
    return row["shown_date"], row["draft_id"]


def kind(old: Row | None, new: Row | None) -> str | None:
    if old is None or new is None:
        return "appears" if old is None else "vanishes"
    names = {"label": "label", "tier": "tier", "weight": "weight", "rule": "rule", "matures_at": "maturity"}
    return next((name for column, name in names.items() if old[column] != new[column]), None)


def as_counts(pairs: Counter) -> dict[tuple[str | None, str | None], int]:
    return {pair: count for pair, count in pairs.items() if count}


def flips(figures: list[Row]) -> dict[tuple[str | None, str | None], int]:
    return {(flip["before"], flip["after"]): flip["rows"] for flip in figures}


@settings(max_examples=40, deadline=None)
@given(before=relations, after=relations, share=st.booleans())
def test_it_counts_what_a_comparison_row_by_row_counts(before: dict, after: dict, share: bool) -> None:
    old, new = relation(before, "known"), relation(after | before if share else after, "new")
    olds, news = ({key(row): row for row in side} for side in (old, new))
    pairs = {place: (olds.get(place), news.get(place)) for place in olds.keys() | news.keys()}
    kinds = {place: change for place, pair in pairs.items() if (change := kind(*pair))}
    only_strong = Training(tiers=(Tier.STRONG,))
    comparison = compared(old, new)
    changes = comparison.changes().to_pylist()
    figures = comparison.figures(before={"known": only_strong}, after=Training())

    assert {key(row): row["kind"] for row in changes} == kinds
    assert len(changes) == len(kinds) == figures["changed"]
    for row in changes:
        for side, stored in zip(("before", "after"), pairs[key(row)], strict=True):
            assert [row[f"{side}_{name}"] for name in VERDICT] == [stored and stored[name] for name in VERDICT]

    changing = {day for day, _ in kinds}
    assert figures["rows"] == len(pairs)
    assert figures["kinds"] == dict(sorted(Counter(kinds.values()).items(), key=lambda item: KINDS.index(item[0])))
    assert {row["day"] for row in figures["days"] if row["changed"]} == changing
    assert Counter(day for day, _ in pairs) == {row["day"]: row["rows"] for row in figures["days"]}
    assert flips(figures["labels"]) == as_counts(
        Counter((a["label"] if a else NO_ROW, b["label"] if b else NO_ROW) for a, b in pairs.values())
    )
    assert flips(figures["tiers"]) == as_counts(
        Counter(tuple(s["tier"] or NO_TIER if s else NO_ROW for s in pair) for pair in pairs.values())
    )

    def state_after(place: tuple[date, str]) -> str | None:
        side = news.get(place) if place[0] in changing else olds.get(place)
        return side["state"] if side else None

    def trains(row: Row | None, state: str | None, training: Training) -> str | None:
        if row is None or state != "final" or row["tier"] is None:
            return None
        return row["label"] if row["weight"] * training.factors().get(row["tier"], 0.0) > 0 else None

    assert flips(figures["training"]) == as_counts(
        Counter(
            (trains(a, a and a["state"], only_strong), trains(b, state_after(place), Training()))
            for place, (a, b) in pairs.items()
        )
    )
    assert figures["final_before"] == sum(row["state"] == "final" for row in old)
    assert figures["final_after"] == sum(state_after(place) == "final" for place in pairs)
    assert figures["ripened"] == sum(
        a["state"] != state_after(place) for place, (a, _) in pairs.items() if a and place not in kinds
    )
    for rule in figures["rules"]:
        name = rule["rule"]
        assert rule["before"] == sum(row["rule"] == name for row in old)
        assert rule["after"] == sum(row["rule"] == name for row in new)
        assert rule["after"] - rule["before"] == rule["gained"] - rule["lost"]
    assert sum(flow["rows"] for flow in figures["flows"]) == len(kinds)
    assert sum(category["rows"] for category in figures["categories"]) == len(pairs)


@settings(max_examples=20, deadline=None)
@given(before=relations, after=relations, other=relations, seed=st.randoms())
def test_the_fingerprint_is_of_the_changed_rows_and_nothing_else(before: dict, after: dict, other: dict, seed) -> None:
    old, new = relation(before, "known"), relation(after, "new")

    def look(before: list[Row], after: list[Row]) -> tuple[str, list[Row]]:
        comparison = compared(before, after)
        rows = [{**row, "category": None} for row in comparison.changes().to_pylist()]
        return comparison.fingerprint(), sorted(rows, key=key)

    fingerprint, changes = look(old, new)
    shuffled = [*new]
    seed.shuffle(shuffled)
    # A row that stays as it is on a day of its own, another order, state and policy: all beside the point.
    same = {**relation({(9, "kept"): {"verdict": VERDICTS[0], "category": None, "late": 0, "state": "final"}}, "x")[0]}
    again = [{**row, "state": "final", "policy_digest": "y"} for row in [*shuffled, same]]
    assert look([same, *old], again) == (fingerprint, changes)
    otherwise, changed = look(old, relation(other, "new"))
    assert (otherwise == fingerprint) == (changed == changes)


def test_labels_that_stay_as_they_are_change_nothing() -> None:
    rows = relation({(0, "a"): {"verdict": VERDICTS[0], "category": "x", "late": 0, "state": "final"}}, "known")
    comparison = compared(rows, rows)
    figures = comparison.figures(before={}, after=Training())
    assert (figures["changed"], figures["kinds"], figures["flows"]) == (0, {}, [])
    assert comparison.changes().num_rows == 0
    assert comparison.examples(20) == []


def test_without_a_row_on_either_side_all_counts_are_zero() -> None:
    comparison = compared([], [])
    figures = comparison.figures(before={}, after=Training())
    assert (figures["rows"], figures["changed"], figures["ripened"], figures["days"]) == (0, 0, 0, [])


def test_examples_hold_every_kind_of_change_and_are_the_same_every_time() -> None:
    def row(draft: int, verdict: int, late: int = 0) -> tuple[tuple[int, str], Row]:
        return (draft % 3, f"d{draft}"), {
            "verdict": VERDICTS[verdict], "category": None, "late": late, "state": "final",
        }  # fmt: skip

    before = dict([row(n, 0) for n in range(400)] + [row(n, 1) for n in range(400, 404)] + [row(900, 4)])
    after = dict(
        [row(n, 4) for n in range(300)]  # label
        + [row(n, 0, late=1) for n in range(300, 400)]  # maturity
        + [row(n, 0) for n in range(400, 403)]  # tier
        + [row(403, 2)]  # weight
        + [row(901, 5)]  # one appears, and 900 vanishes
    )
    old, new = relation(before, "known"), relation(after, "new")
    comparison = compared(old, new)
    drawn = comparison.examples(20)
    comparison = compared(old[::-1], new[::-1])
    assert comparison.examples(20) == drawn
    kinds = [row["kind"] for row in drawn]
    assert len({key(row) for row in drawn}) == 20
    assert kinds == sorted(kinds, key=KINDS.index), "the gravest first"
    assert Counter(kinds) == {"label": 7, "appears": 1, "vanishes": 1, "tier": 3, "weight": 1, "maturity": 7}
    comparison = compared(old, new)
    assert {row["kind"] for row in comparison.examples(6)} == set(kinds)
