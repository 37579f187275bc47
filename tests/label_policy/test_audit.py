"""The audit sample: its size, its probabilities, and that nothing but seed, digest and drafts decides it."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import PolicyError, draw_sample
from label_policy.audit import Stratum, allocate


def table(keys: list[tuple]) -> pa.Table:
    """Labels whose draft ids follow from their place in `keys`."""
    names = ["label", "tier", "rule", "category"]
    columns = {name: pa.array([key[i] for key in keys], pa.string()) for i, name in enumerate(names)}
    prompt = pa.array([[{"role": "user", "content": f"q{i}"}] for i in range(len(keys))])
    return pa.table(
        {"draft_id": pa.array([f"d{i}" for i in range(len(keys))], pa.string()), "prompt": prompt, **columns}
    )


KEYS = st.tuples(
    st.sampled_from(["desirable", "undesirable", "abstain"]),
    st.sampled_from([None, "strong", "weak"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "", "x|y", "é"]),
)
LABELS = st.lists(st.tuples(KEYS, st.integers(1, 30)), max_size=12).map(
    lambda counts: table([key for key, count in counts for _ in range(count)])
)


def stratum_of(row: dict) -> str:
    return "|".join([row["label"], row["tier"] or "", row["rule"], row["category"] or ""])


@settings(max_examples=25, deadline=None)
@given(LABELS, st.integers(0, 3), st.integers(1, 60), st.integers(1, 8), st.randoms(use_true_random=False))
def test_invariants(labels, seed, per_class, floor, random):
    sample = draw_sample(labels, policy_digest="d", seed=seed, per_class=per_class, floor=floor)
    assert sample.schema.names == [*labels.schema.names, "stratum", "inclusion_probability"]
    assert sample.schema.field("prompt").type == labels.schema.field("prompt").type
    rows, population = sample.to_pylist(), [row for row in labels.to_pylist() if row["label"] != "abstain"]

    sizes, drawn = Counter(map(stratum_of, population)), Counter(row["stratum"] for row in rows)
    assert len({row["draft_id"] for row in rows}) == len(rows)
    assert all(row["stratum"] == stratum_of(row) for row in rows)
    for stratum, size in sizes.items():
        assert min(size, floor) <= drawn[stratum] <= size
        weights = [1 / row["inclusion_probability"] for row in rows if row["stratum"] == stratum]
        assert sum(weights) == pytest.approx(size)
    for label in ("desirable", "undesirable"):
        held = sum(row["label"] == label for row in population)
        floors = sum(min(size, floor) for stratum, size in sizes.items() if stratum.startswith(f"{label}|"))
        assert sum(row["label"] == label for row in rows) == min(held, max(per_class, floors))

    order = list(range(labels.num_rows))
    random.shuffle(order)
    again = draw_sample(
        labels.take(pa.array(order, pa.int64())), policy_digest="d", seed=seed, per_class=per_class, floor=floor
    )
    assert again.to_pylist() == rows


def test_seed_and_digest_change_the_draw():
    labels = table([("desirable", "strong", "a", "x")] * 2000)
    draws = [
        frozenset(draw_sample(labels, policy_digest=digest, seed=seed)["draft_id"].to_pylist())
        for digest, seed in (("d", 1), ("d", 2), ("e", 1), ("d", 1))
    ]
    assert draws[0] == draws[3] and len(set(draws)) == 3


def test_a_draft_keeps_its_place_when_others_come():
    labels = table([("desirable", "strong", "a", "x")] * 3000)
    few = set(draw_sample(labels[:1500], policy_digest="d", seed=1)["draft_id"].to_pylist())
    many = set(draw_sample(labels, policy_digest="d", seed=1)["draft_id"].to_pylist())
    assert few & many == {draft for draft in many if int(draft[1:]) < 1500}


def test_every_row_is_drawn_as_often_as_any_other():
    # 300 strata of 100 rows, 20 drawn of each: how often is each place of 100 drawn?
    labels = table([("desirable", "strong", "a", f"c{stratum}") for stratum in range(300) for _ in range(100)])
    sample = draw_sample(labels, policy_digest="d", seed=1, per_class=1, floor=20)
    counts = Counter(int(draft[1:]) % 100 for draft in sample["draft_id"].to_pylist())
    # Binomial(300, 0.2): mean 60, standard deviation 6.9.
    assert len(counts) == 100 and min(counts.values()) > 60 - 5 * 6.9 and max(counts.values()) < 60 + 5 * 6.9


def test_allocation_is_proportional_after_the_floors():
    strata = [Stratum("big", "d", 905), Stratum("mid", "d", 105), Stratum("tiny", "d", 3), Stratum("other", "u", 4)]
    assert allocate(strata, per_class=200, floor=5) == {"big": 173, "mid": 24, "tiny": 3, "other": 4}


def test_an_empty_table_gives_an_empty_sample():
    sample = draw_sample(table([]), policy_digest="d", seed=1)
    assert sample.num_rows == 0 and sample.schema.field("inclusion_probability").type == pa.float64()


def test_dictionary_columns_are_read():
    labels = table([("desirable", "strong", "a", "x")] * 10)
    encoded = labels.set_column(2, "label", labels["label"].dictionary_encode())
    assert draw_sample(encoded, policy_digest="d", seed=1).num_rows == 10


@pytest.mark.parametrize(
    "change, settings, part",
    [
        (lambda labels: labels.drop_columns(["tier", "rule"]), {}, "no column tier, rule"),
        (lambda labels: pa.concat_tables([labels, labels]), {}, "'d0' stands in several labels"),
        (lambda labels: labels.set_column(0, "draft_id", [[None, "d1"]]), {}, "has no draft_id"),
        (lambda labels: labels, {"per_class": 0}, "per_class is 0"),
        (lambda labels: labels, {"floor": 0}, "floor is 0"),
    ],
)
def test_bad_requests(change, settings, part):
    labels = table([("desirable", "strong", "a", "x"), ("undesirable", "weak", "b", None)])
    with pytest.raises(PolicyError, match=part):
        draw_sample(change(labels), policy_digest="d", seed=1, **settings)
