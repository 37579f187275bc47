import math
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kto_core import TrainingError
from kto_core.data.groups import REACH, class_weights, mismatch, plan_groups, plan_steps

rows = st.lists(st.tuples(st.booleans(), st.integers(1, 400), st.integers(0, 30)), min_size=2, max_size=300).filter(
    lambda drawn: len({good for good, *_ in drawn}) == 2
)


def group(drawn, *, group_rows=8, balance="oversample", seed=0):
    good, lengths, _ = zip(*drawn, strict=True)
    return plan_groups(good, lengths, group_rows=group_rows, balance=balance, seed=seed)


@settings(deadline=None, max_examples=120)
@given(rows, st.sampled_from([2, 4, 8, 16]), st.sampled_from(["oversample", "lambda", "none"]), st.integers(0, 99))
@example([(i % 3 > 0, i, i) for i in range(300)], 2, "oversample", 0)  # cut from many windows
@example([(i % 3 > 0, i, i) for i in range(300)], 2, "none", 0)
def test_invariants_of_a_plan(drawn, group_rows, balance, seed):
    groups = group(drawn, group_rows=group_rows, balance=balance, seed=seed)
    met = Counter(row for g in groups for row in g)
    assert set(met) == set(range(len(drawn)))
    good = [sum(drawn[row][0] for row in g) for g in groups]
    sizes = [len(g) for g in groups]
    if balance == "oversample":
        assert len(groups) == math.ceil(max(Counter(label for label, *_ in drawn).values()) / (group_rows // 2))
        assert set(sizes) == {group_rows}
        assert set(good) == {group_rows // 2}
        for side in (True, False):
            times = [met[row] for row, (label, *_) in enumerate(drawn) if label is side]
            assert max(times) - min(times) <= 1
    else:
        assert len(groups) == min(math.ceil(len(drawn) / group_rows), len(drawn) // 2)
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


@pytest.mark.parametrize(
    ("groups", "batch", "epochs", "max_steps", "steps"),
    [
        (8, 2, 1, None, 4),
        (7, 2, 1.5, None, 6),  # 5.25 steps are an epoch and a half
        (7, 2, 1.5, 5, 5),
        (7, 2, 1.5, 9, 6),
        (3, 9, 0.1, None, 1),
    ],
)
def test_there_are_as_many_steps_as_the_epochs_take(groups, batch, epochs, max_steps, steps):
    assert len(plan_steps(groups, batch_groups=batch, epochs=epochs, max_steps=max_steps, seed=3)) == steps


def test_epochs_differ_in_order_and_the_seed_decides():
    first, second = (plan_steps(20, batch_groups=20, epochs=2, max_steps=None, seed=0)[i] for i in (0, 1))
    assert first != second
    assert plan_steps(20, batch_groups=20, epochs=1, max_steps=None, seed=1)[0] != first
    assert plan_steps(20, batch_groups=20, epochs=1, max_steps=None, seed=0)[0] == first


@pytest.mark.parametrize("balance", ["oversample", "lambda", "none"])
def test_the_seed_decides_who_stands_together(balance):
    drawn = [(i % 2 == 0, 10, i) for i in range(200)]
    assert group(drawn, balance=balance, seed=0) != group(drawn, balance=balance, seed=1)


def test_groups_hold_similar_lengths():
    drawn = [(i % 2 == 0, 10 if i % 3 else 300, i) for i in range(384)]
    groups = group(drawn)
    mixed = sum(len({drawn[row][1] for row in g}) > 1 for g in groups)
    assert mixed <= len(groups) / 10


def lenders_of(rows):
    return mismatch([prompt.encode() for prompt, _ in rows], [completion for _, completion in rows])


texts = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.text(max_size=3)), min_size=2, max_size=80)


@settings(deadline=None)
@given(texts)
def test_every_completion_is_lent_once_and_never_to_its_own_row(rows):
    lenders = lenders_of(rows)
    assert sorted(lenders) == list(range(len(rows)))
    assert all(row != lender for row, lender in enumerate(lenders))
    prompts = Counter(prompt for prompt, _ in rows)
    if len(rows) <= REACH and max(prompts.values()) <= len(rows) / 2:
        # Where no prompt has more than half of the rows, everyone can borrow from another one.
        same = sum(rows[row][0] == rows[lender][0] for row, lender in enumerate(lenders))
        assert same <= len(rows) / 8


@settings(deadline=None, max_examples=30)
@given(st.integers(100, 400), st.integers(1, 10), st.randoms(use_true_random=False))
def test_a_row_that_comes_changes_one_other_rows_pair(count, new, rng):
    old = [(f"prompt {i // 2}", f"completion {i}") for i in range(count)]
    added = [(f"new {i}", f"completion new {i}") for i in range(new)]
    both = rng.sample(old + added, count + new)

    def pairs(rows):
        return {(*row, rows[lender]) for row, lender in zip(rows, lenders_of(rows), strict=True)}

    # Around a row that came, prompts that met may exchange what they borrowed: a pair or two more.
    assert len(pairs(old) - pairs(both)) <= 4 * new


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("balance", ["oversample", "lambda", "none"])
def test_one_class_is_an_error_that_says_what_to_do(good, balance):
    with pytest.raises(TrainingError, match=f"no {'undesirable' if good else 'desirable'} row.*SFT"):
        plan_groups([good] * 9, [1] * 9, group_rows=8, balance=balance, seed=0)


def test_lambda_makes_classes_weigh_as_if_equally_many():
    desirable, undesirable = class_weights(20, 80, balance="lambda", desirable_weight=1.0, undesirable_weight=1.8)
    assert desirable * 20 / (undesirable * 80) == pytest.approx(1.0 / 1.8)
    assert (desirable, undesirable) == pytest.approx((1.0 * 50 / 20, 1.8 * 50 / 80)), "half of the rows are 50"
    assert class_weights(20, 80, balance="none", desirable_weight=1.0, undesirable_weight=1.8) == (1.0, 1.8)
