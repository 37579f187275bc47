from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_core import TrainingError
from kto_core.groups import class_weights, plan_groups, plan_steps

rows = st.lists(st.tuples(st.booleans(), st.integers(1, 400), st.integers(0, 30)), min_size=2, max_size=300).filter(
    lambda drawn: len({good for good, *_ in drawn}) == 2
)


def group(drawn, *, group_rows=8, balance="oversample", seed=0):
    good, lengths, prompts = zip(*drawn, strict=True)
    return plan_groups(good, lengths, group_rows=group_rows, balance=balance, seed=seed, prompts=prompts)


@settings(deadline=None, max_examples=120)
@given(rows, st.sampled_from([2, 4, 8, 16]), st.sampled_from(["oversample", "lambda", "none"]), st.integers(0, 99))
def test_invariants_of_a_plan(drawn, group_rows, balance, seed):
    groups = group(drawn, group_rows=group_rows, balance=balance, seed=seed)
    met = Counter(row for g in groups for row in g.rows)
    assert set(met) == set(range(len(drawn)))
    for g in groups:
        assert sorted(g.partners) == sorted(g.rows)
        assert all(row != partner for row, partner in zip(g.rows, g.partners, strict=True))
    good = [sum(drawn[row][0] for row in g.rows) for g in groups]
    sizes = [len(g.rows) for g in groups]
    if balance == "oversample":
        assert set(sizes) == {group_rows}
        assert set(good) == {group_rows // 2}
        for side in (True, False):
            times = [met[row] for row, (label, *_) in enumerate(drawn) if label is side]
            assert max(times) - min(times) <= 1
    else:
        assert set(met.values()) == {1}
        assert max(sizes) <= max(group_rows, 3)  # an odd number of rows in twos ends in a three
        assert min(sizes) >= 2
        assert max(sizes) - min(sizes) <= 1
        assert max(good) - min(good) <= 1
    assert groups == group(drawn, group_rows=group_rows, balance=balance, seed=seed)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.floats(0.1, 3), st.one_of(st.none(), st.integers(1, 40)))
def test_steps_are_full_and_every_epoch_meets_every_group(groups, batch, epochs, max_steps):
    steps = plan_steps(groups, batch_groups=batch, epochs=epochs, max_steps=max_steps, seed=3)
    assert all(len(step) == batch for step in steps)
    assert max_steps is None or len(steps) <= max_steps
    stream = [index for step in steps for index in step]
    for at in range(0, len(stream) - groups + 1, groups):
        assert sorted(stream[at : at + groups]) == list(range(groups))


def test_epochs_differ_in_order_and_the_seed_decides():
    first, second = (plan_steps(20, batch_groups=20, epochs=2, max_steps=None, seed=0)[i] for i in (0, 1))
    assert first != second
    assert plan_steps(20, batch_groups=20, epochs=1, max_steps=None, seed=1)[0] != first


def test_groups_hold_similar_lengths():
    drawn = [(i % 2 == 0, 10 if i % 3 else 300, i) for i in range(384)]
    groups = group(drawn)
    mixed = sum(len({drawn[row][1] for row in g.rows}) > 1 for g in groups)
    assert mixed <= len(groups) / 10


def test_a_mismatched_completion_comes_from_another_prompt_where_it_can():
    drawn = [(i % 2 == 0, 5, i // 4) for i in range(8)]  # two prompts with four rows each, in one group
    (only,) = group(drawn)
    prompts = [prompt for *_, prompt in drawn]
    same = sum(prompts[a] == prompts[b] for a, b in zip(only.rows, only.partners, strict=True))
    orders = [sum(prompts[only.rows[i]] == prompts[only.rows[(i + s) % 8]] for i in range(8)) for s in range(1, 8)]
    assert same == min(orders)


def test_a_single_scarce_row_is_never_its_own_pair():
    for g in group([(True, 3, 0)] + [(False, 3, i) for i in range(1, 30)]):
        assert all(row != partner for row, partner in zip(g.rows, g.partners, strict=True))


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("balance", ["oversample", "lambda", "none"])
def test_one_class_is_an_error_that_says_what_to_do(good, balance):
    with pytest.raises(TrainingError, match="SFT"):
        plan_groups([good] * 9, [1] * 9, group_rows=8, balance=balance, seed=0)


def test_lambda_makes_classes_weigh_as_if_equally_many():
    desirable, undesirable = class_weights(20, 80, balance="lambda", desirable_weight=1.0, undesirable_weight=1.8)
    assert desirable * 20 / (undesirable * 80) == pytest.approx(1.0 / 1.8)
    assert class_weights(20, 80, balance="none", desirable_weight=1.0, undesirable_weight=1.8) == (1.0, 1.8)
