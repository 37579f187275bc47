"""The audit sample: its sizes, its probabilities, its dependence on seed and drafts alone, and its overlaps."""

import hashlib
from collections import Counter
from functools import cache

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from label_policy import Audit, PolicyError, draw_sample
from label_policy.audits.allocation import Stratum, allocate
from label_policy.audits.precision import rows_to_show

COLUMNS = ("label", "tier", "rule", "category")


@cache
def database() -> duckdb.DuckDBPyConnection:
    """One for all tests, and none before the first: a process that has only collected them can be forked."""
    return duckdb.connect()


def table(keys: list[tuple], first: int = 0) -> pa.Table:
    """Labels whose draft ids follow from their place in `keys`."""
    columns = {name: pa.array([key[i] for key in keys], pa.string()) for i, name in enumerate(COLUMNS)}
    return pa.table({"draft_id": pa.array([f"d{i}" for i in range(first, first + len(keys))], pa.string()), **columns})


def read_verdicts(drafts, verdict="desirable") -> pa.Table:
    drafts = list(drafts)
    return pa.table(
        {"draft_id": pa.array(drafts, pa.string()), "verdict": pa.array([verdict] * len(drafts), pa.string())}
    )


def draw(labels, *, seed=1, read=None, suspected=(), **audit):
    database().register("labels", labels)
    return draw_sample(database(), seed=seed, audit=Audit(**audit), read=read, suspected=suspected).to_pylist()


def ids(rows):
    return {row["draft_id"] for row in rows}


KEYS = st.tuples(
    st.sampled_from(["desirable", "undesirable", "abstain"]),
    st.sampled_from([None, "strong", "weak"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "", "x|y", "é"]),
)
LABELS = st.lists(st.tuples(KEYS, st.integers(1, 30)), max_size=12).map(
    lambda counts: table([key for key, count in counts for _ in range(count)])
)
VERDICTS = st.sampled_from(["desirable", "undesirable", "unsure"])
SIZES = {"per_class": st.integers(1, 60), "floor": st.integers(1, 8)}


def stratum_of(row: dict) -> str:
    return "|".join((row[name] or "").replace("|", "\\|") for name in COLUMNS)


@settings(max_examples=15, deadline=None)
@given(LABELS, st.integers(0, 3), st.fixed_dictionaries(SIZES), st.data())
def test_invariants(labels, seed, sizes, data):
    population = [row for row in labels.to_pylist() if row["label"] != "abstain"]
    drafts = [row["draft_id"] for row in population]
    read = data.draw(st.lists(st.tuples(st.sampled_from(drafts), VERDICTS)) if drafts else st.just([]))
    suspected = data.draw(st.sets(st.sampled_from([*drafts, "gone"]), max_size=5))
    verdicts = pa.table({"draft_id": pa.array([r[0] for r in read], pa.string()),
                         "verdict": pa.array([r[1] for r in read], pa.string())})  # fmt: skip
    rows = draw(labels, seed=seed, read=verdicts, suspected=suspected, **sizes)

    assert len(ids(rows)) == len(rows)
    assert {row["draft_id"] for row in rows if row["suspected"]} == suspected & set(drafts)
    by_id = {row["draft_id"]: row for row in population}
    held, drawn = Counter(), Counter(row["stratum"] for row in rows)
    for draft_id, row in by_id.items():
        held[("suspected|" if draft_id in suspected else "") + stratum_of(row)] += 1
    assert set(drawn) == set(held)
    for row in rows:
        prefix = "suspected|" if row["suspected"] else ""
        assert row["stratum"] == prefix + stratum_of(by_id[row["draft_id"]])
        assert row["stratum_size"] == held[row["stratum"]]
        assert row["inclusion_probability"] == drawn[row["stratum"]] / held[row["stratum"]]
    for stratum, size in held.items():
        assert (
            drawn[stratum] == size if stratum.startswith("suspected|") else min(size, sizes["floor"]) <= drawn[stratum]
        )
        # Inverse probabilities add up to the stratum's size.
        weights = [1 / row["inclusion_probability"] for row in rows if row["stratum"] == stratum]
        assert sum(weights) == pytest.approx(size)
    for label in ("desirable", "undesirable"):
        others = [row for row in population if row["label"] == label and row["draft_id"] not in suspected]
        chosen = [row for row in rows if not row["suspected"] and row["stratum"].startswith(f"{label}|")]
        assert len(chosen) >= min(len(others), sizes["per_class"])

    order = data.draw(st.permutations(range(labels.num_rows)))
    shuffled = labels.take(pa.array(order, pa.int64()))
    assert draw(shuffled, seed=seed, read=verdicts, suspected=suspected, **sizes) == rows


@settings(max_examples=15, deadline=None)
@given(LABELS, st.fixed_dictionaries(SIZES), st.data())
def test_samples_are_first_places_so_that_successive_ones_overlap_as_far_as_they_can(labels, sizes, data):
    """For two sample sizes and two populations of a stratum, no choice of rows overlaps more."""
    kept = data.draw(st.lists(st.booleans(), min_size=labels.num_rows, max_size=labels.num_rows))
    fewer = labels.filter(pa.array(kept, pa.bool_()))
    first = draw(fewer, **sizes)
    second = draw(labels, read=read_verdicts(ids(first), "undesirable"), **sizes)

    place = {
        d: int.from_bytes(hashlib.md5(f"1|{d}".encode()).digest(), "little") for d in labels["draft_id"].to_pylist()
    }
    by_id = {row["draft_id"]: stratum_of(row) for row in labels.to_pylist()}
    for rows, population in ((first, fewer), (second, labels)):
        for stratum in {row["stratum"] for row in rows}:
            members = sorted((d for d in population["draft_id"].to_pylist() if by_id[d] == stratum), key=place.get)
            chosen = {row["draft_id"] for row in rows if row["stratum"] == stratum}
            assert chosen == set(members[: len(chosen)])


@settings(max_examples=15, deadline=None)
@given(LABELS, st.fixed_dictionaries(SIZES), st.data())
def test_what_was_read_is_enough_as_long_as_nothing_changes(labels, sizes, data):
    rows = draw(labels, **sizes)
    verdicts = {draft: data.draw(VERDICTS) for draft in sorted(ids(rows))}
    read = pa.table({"draft_id": pa.array(verdicts, pa.string()), "verdict": pa.array(verdicts.values(), pa.string())})
    assert draw(labels, read=read, **sizes) == rows


def test_a_policy_that_leaves_a_rule_alone_asks_for_none_of_its_rows_again():
    before = [("desirable", "strong", "accepted", "x")] * 3000 + [("undesirable", "strong", "rejected", "x")] * 800
    rows = draw(table(before))
    read = read_verdicts(ids(rows))
    # Of the accepted a third are now of another rule; of the rejected nothing changes.
    after = [("desirable", "weak", "unread", "x") if i < 1000 else key for i, key in enumerate(before)]
    again = draw(table(after), read=read)
    rejected = {row["draft_id"] for row in rows if "rejected" in row["stratum"]}
    assert {row["draft_id"] for row in again if "rejected" in row["stratum"]} == rejected
    accepted = {row["draft_id"] for row in rows if "accepted" in row["stratum"] and int(row["draft_id"][1:]) >= 1000}
    assert accepted <= ids(again)
    # What was read of those that moved counts for the new rule, too: its first places are among them.
    assert len(ids(again) - ids(rows)) <= 5


def test_more_days_ask_for_little_more_and_never_for_ever_more():
    """A sample changes with its population by the share of new drafts, and does not grow with it."""
    read, drawn_rows = set(), []
    for thousands in range(4, 14):
        rows = draw(table([("desirable", "strong", "a", "x")] * thousands * 1000), read=read_verdicts(read))
        drawn_rows.append(len(ids(rows) - read))
        assert 200 <= len(rows) <= 225
        read |= ids(rows)
    # 200 · ln(13000 / 4000) is 236.
    assert drawn_rows[0] == 200 and 180 < sum(drawn_rows[1:]) < 290


def test_the_seed_changes_the_draw_and_asks_for_no_more():
    labels = table([("desirable", "strong", "a", "x")] * 2000)
    first, other, again = (ids(draw(labels, seed=seed)) for seed in (1, 2, 1))
    assert first == again and len(first & other) < 60
    assert len(draw(labels, seed=2, read=read_verdicts(first))) == 200


def test_every_row_is_drawn_as_often_as_any_other():
    # 300 strata of 100 rows, 20 drawn of each: how often is each place of 100 drawn?
    labels = table([("desirable", "strong", "a", f"c{stratum}") for stratum in range(300) for _ in range(100)])
    counts = Counter(int(row["draft_id"][1:]) % 100 for row in draw(labels, per_class=1, floor=20))
    # Binomial(300, 0.2): mean 60, standard deviation 6.9.
    assert len(counts) == 100 and min(counts.values()) > 60 - 5 * 6.9 and max(counts.values()) < 60 + 5 * 6.9


def test_the_first_half_is_a_sample_too():
    labels = table([("desirable", "strong", "a", c) for c in "aaab" * 1000] + [("undesirable", "weak", "b", "z")] * 500)
    half = Counter(row["stratum"] for row in draw(labels)[:200])
    for stratum, rows in {"desirable|strong|a|a": 75, "desirable|strong|a|b": 25, "undesirable|weak|b|z": 100}.items():
        assert abs(half[stratum] - rows) <= 3


@pytest.mark.parametrize("overlap, low, high", [(0.0, 0, 0), (0.1, 60, 140), (1.0, 1000, 1000)])
def test_the_share_of_rows_for_two_readers(overlap, low, high):
    labels = table([("desirable", "strong", "a", "x")] * 2000)
    rows = draw(labels, per_class=1000, overlap=overlap)
    assert low <= sum(row["readers"] == 2 for row in rows) <= high
    assert {row["readers"] for row in rows} <= {1, 2}


def test_the_policy_names_the_strata():
    labels = table([("desirable", "strong", rule, category) for rule in "ab" for category in "xyz"] * 10)
    assert {row["stratum"] for row in draw(labels, strata=("label", "tier"))} == {"desirable|strong"}
    assert len({row["stratum"] for row in draw(labels, strata=("label", "tier", "category"))}) == 3


def test_names_of_strata_are_never_the_same():
    labels = table([("desirable", "strong", "a", "b|c"), ("desirable", "strong", "a|b", "c")])
    assert len({row["stratum"] for row in draw(labels, strata=("label", "tier", "rule", "category"))}) == 2


@pytest.mark.parametrize(
    "strata, wanted",
    [
        # Nothing is known: in proportion to size, after the floors.
        ({"big": (900, 0, 0, 0), "mid": (100, 0, 0, 0), "tiny": (3, 0, 0, 0)}, {"big": 177, "mid": 20, "tiny": 3}),
        # As large, and one is a coin: (99 + 1) / (100 + 2) right against (49 + 1) / (98 + 2), S = 0.139 and 0.5.
        ({"sure": (5000, 100, 99, 0), "coin": (5000, 98, 49, 0)}, {"sure": 43, "coin": 157}),
        # What was read is never given up, and counts towards the rest.
        ({"sure": (5000, 100, 99, 100), "coin": (5000, 98, 49, 98)}, {"sure": 100, "coin": 100}),
        ({"sure": (5000, 50, 50, 50), "coin": (5000, 50, 25, 50)}, {"sure": 50, "coin": 150}),
        ({"a": (500, 150, 150, 150), "b": (500, 150, 150, 150)}, {"a": 150, "b": 150}),
        ({"a": (7, 0, 0, 0), "b": (5, 0, 0, 0)}, {"a": 7, "b": 5}),
    ],
)
def test_allocation(strata, wanted):
    strata = [
        Stratum(name=name, label="d", size=size, judged=judged, right=right, read=frozenset(range(1, first + 1)))
        for name, (size, judged, right, first) in strata.items()
    ]
    assert allocate(strata, per_class=200, floor=5) == wanted


@pytest.mark.parametrize("bound", [0.6, 0.9, 0.95])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_rows_to_show_a_bound_are_as_many_as_wilsons_interval_needs(bound, confidence):
    rows = rows_to_show(bound, confidence=confidence)
    good = bound + (1 - bound) * 2 / 3
    lows = [proportion_confint(good * n, n, alpha=1 - confidence, method="wilson")[0] for n in (rows, rows - 1)]
    assert lows[0] >= bound > lows[1]


def test_no_number_of_rows_shows_that_all_are_right():
    assert rows_to_show(1.0, confidence=0.95) > 10**18


def test_a_tier_with_a_bound_is_drawn_until_its_rows_can_show_it():
    labels = table(
        [("undesirable", "critical", "flag", "a")] * 71
        + [("undesirable", "strong", "reject", "a")] * 3000
        + [("desirable", "strong", "accept", "a")] * 9000
    )

    def by_tier(**audit):
        tiers = dict(zip(labels["draft_id"].to_pylist(), labels["tier"].to_pylist(), strict=True))
        return Counter(tiers[row["draft_id"]] for row in draw(labels, per_class=50, **audit))

    assert by_tier() == {"critical": 5, "strong": 95}
    drawn_rows = by_tier(precision={"critical": 0.9, "strong": 0.95})
    assert drawn_rows["critical"] == 71, "all there are"
    assert 164 <= drawn_rows["strong"] <= 166


def test_no_labels_give_an_empty_sample():
    assert draw(table([])) == []
    assert draw(table([("abstain", None, "no_rule", "x")] * 3)) == []


def test_dictionary_columns_are_read():
    labels = table([("desirable", "strong", "a", "x")] * 10)
    assert len(draw(labels.set_column(1, "label", labels["label"].dictionary_encode()))) == 10


def test_a_draft_in_several_labels_is_refused():
    labels = table([("desirable", "strong", "a", "x"), ("undesirable", "weak", "b", None)])
    with pytest.raises(PolicyError, match="'d0' has several labels"):
        draw(pa.concat_tables([labels, labels]))
    assert len(draw(labels)) == 2, "the connection works on"
