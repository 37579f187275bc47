"""Precision from stratified samples: against the textbook, against the truth over many draws, and at its edges."""

import json
import math
from collections import defaultdict
from dataclasses import asdict, replace
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from label_policy.audits.precision import Estimate, difference, estimate, interval, towards
from label_policy.exceptions import PolicyError

# (labels, rows read, share right) a stratum. The first is what harbor-support.v1 draws of a Harbor month.
DESIGNS = {
    "harbor": [(70, 7, 0.99), (440, 19, 0.98), (82, 7, 0.89), (19, 5, 1), (14, 5, 1), (78, 6, 1), (11, 5, 0.73),
               (67, 7, 1), (55, 6, 0.77), (26, 6, 0.57), (47, 6, 0.65)] * 5,
    "alike": [(1000, 20, 0.9)] * 10,
    "one heavy": [(10_000, 20, 0.95)] + [(100, 20, 0.95)] * 9,
    "one heavy, read little": [(10_000, 10, 0.9)] + [(1000, 100, 0.99)] * 5,
    "heavy and worse": [(10_000, 20, 0.8)] + [(100, 20, 1)] * 9,
    "floors": [(10_000, 100, 0.98)] + [(200, 5, 0.98)] * 20,
    "noisy strata read more": [(9000, 100, 0.98), (500, 50, 0.6), (500, 50, 0.7)],
    "half": [(1000, 20, 0.5)] * 10,
    "mostly read": [(40, 30, 0.9)] * 8,
}  # fmt: skip


@pytest.mark.parametrize("name", DESIGNS)
def test_the_interval_holds_the_truth_as_often_as_it_says(name: str) -> None:
    labels, read, share = np.array(DESIGNS[name]).T
    good = np.round(labels * share)
    truth = good.sum() / labels.sum()
    random = np.random.default_rng(5)
    drawn = random.hypergeometric(
        good.astype(int), (labels - good).astype(int), read.astype(int), size=(3000, len(labels))
    )
    result = interval(np.broadcast_to(read, drawn.shape), drawn.astype(float), np.broadcast_to(labels, drawn.shape))
    assert result.share.mean() == pytest.approx(truth, abs=0.01)
    assert ((result.low <= truth) & (truth <= result.high)).mean() > 0.92
    assert (result.low > truth).mean() < 0.035, (
        "what a gate opens by is wrong at most as often as it says, and a little"
    )


def textbook(strata: list[int], right: list[float], sizes: dict[int, int]) -> tuple[Fraction, Fraction]:
    """Cochran (1977), equations 5.1 and 5.13: the stratified mean and its variance, in exact numbers."""
    by_stratum = defaultdict(list)
    for stratum, value in zip(strata, right, strict=True):
        by_stratum[stratum].append(Fraction(value))
    total = sum(sizes[stratum] for stratum in by_stratum)
    mean, variance = Fraction(0), Fraction(0)
    for stratum, values in by_stratum.items():
        n, size = len(values), sizes[stratum]
        centre = sum(values, Fraction(0)) / n
        spread = sum(((value - centre) ** 2 for value in values), Fraction(0)) / max(n - 1, 1)
        mean += Fraction(size, total) * centre
        variance += Fraction(size, total) ** 2 * (1 - Fraction(n, size)) * spread / n
    return mean, variance


ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(st.integers(60, 400), min_size=4, max_size=4))
def test_the_share_is_the_textbooks_and_its_interval_is_about_it(rows, sizes) -> None:
    strata, right = zip(*rows, strict=True)
    mean, _ = textbook(list(strata), list(right), dict(enumerate(sizes)))
    result = estimate(strata, [sizes[s] for s in strata], right, [True] * len(rows))
    assert result.precision == pytest.approx(float(mean))
    assert 0 <= result.low <= result.precision <= result.high <= 1
    assert result.low < result.high, "only a census leaves nothing open"
    wider = estimate(strata, [sizes[s] for s in strata], right, [True] * len(rows), confidence=0.99)
    assert wider.low <= result.low and result.high <= wider.high


def test_with_many_rows_it_is_wilsons_on_the_textbooks_effective_size() -> None:
    random = np.random.default_rng(2)
    sizes, shares = {0: 40_000, 1: 9_000, 2: 21_000}, (0.85, 0.8, 0.9)
    strata = np.repeat([0, 1, 2], [3000, 700, 1500]).tolist()
    right = [float(random.random() < shares[stratum]) for stratum in strata]
    mean, variance = (float(value) for value in textbook(strata, right, sizes))
    result = estimate(strata, [sizes[s] for s in strata], right, [True] * len(strata))
    effective = min(mean * (1 - mean) / variance, result.effective * 1.01)
    assert result.effective == pytest.approx(effective, rel=0.02)
    low, high = proportion_confint(mean * effective, effective, method="wilson")
    assert (result.low, result.high) == pytest.approx((low, high), abs=5e-4)


def test_one_stratum_that_is_hardly_read_is_wilsons_plain_interval() -> None:
    result = estimate(["s"] * 30, [10**9] * 30, [1.0] * 27 + [0.0] * 3, [True] * 30)
    assert (result.low, result.high) == pytest.approx(proportion_confint(27, 30, method="wilson"), abs=1e-6)


def by_hand(strata: list[tuple[float, float, float]], confidence: float) -> tuple[float, float, float, float]:
    """`interval` of (labels, rows read, rows right) a stratum, one number at a time, following its docstring."""
    labels, read = sum(size for size, _, _ in strata), sum(rows for _, rows, _ in strata)
    share = sum(size / labels * right / rows for size, rows, right in strata)
    whole = (share * read + 0.5) / (read + 1)
    overall = variance = weights = 0.0
    for size, rows, right in strata:
        own = (right + 2 * whole) / (rows + 2)
        unread = 1 - rows / size
        overall += size / labels * own
        variance += (size / labels) ** 2 * unread * own * (1 - own) / rows
        weights += (size / labels) ** 2 * unread / rows
    quantile = (1 + confidence) / 2
    freedom = [max(read - 1, 1), max(read - len(strata), 1)]
    effective = min(overall * (1 - overall) / variance, 1 / weights)
    effective *= (student.ppf(quantile, freedom[0]) / student.ppf(quantile, freedom[1])) ** 2
    # Wilson (1927): the roots of (p − share)² = z²·p·(1 − p) / n.
    z = NormalDist().inv_cdf(quantile)
    middle, half = (
        share + z**2 / (2 * effective),
        z * math.sqrt(share * (1 - share) / effective + (z / effective) ** 2 / 4),
    )
    return share, (middle - half) / (1 + z**2 / effective), (middle + half) / (1 + z**2 / effective), effective


READ = st.tuples(st.integers(2, 2000), st.floats(0, 1), st.floats(0, 1)).map(
    lambda drawn: (drawn[0], max(1, round(drawn[1] * (drawn[0] - 1))), drawn[2])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(READ, min_size=1, max_size=6), st.sampled_from([0.8, 0.95, 0.99]))
@example([(100, 1, 1.0)], 0.95)
@example([(100, 1, 1.0), (40, 1, 0.5)], 0.95)
def test_an_interval_is_what_its_docstring_says(strata, confidence) -> None:
    strata = [(size, rows, round(2 * rows * share) / 2) for size, rows, share in strata]
    expected = by_hand(strata, confidence)
    size, rows, right = np.array(strata, dtype=float).T
    assert interval(rows, right, size, confidence=confidence) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_many_samples_at_once_are_each_as_alone() -> None:
    samples = np.array([[(90, 9, 7), (400, 5, 5), (10, 4, 1)], [(30, 2, 0), (60, 59, 50), (7, 7, 7)]], dtype=float)
    together = interval(samples[..., 1], samples[..., 2], samples[..., 0])
    for place, (size, rows, right) in enumerate(np.moveaxis(samples, 1, 2)):
        np.testing.assert_allclose([figure[place] for figure in together], interval(rows, right, size))


def test_rounding_makes_no_share_above_one_and_no_census_uncertain() -> None:
    every = estimate(["a"] * 5 + ["b"] * 5, [50] * 5 + [11] * 5, [1.0] * 10, [True] * 10)
    assert every.precision == 1, "50 / 61 + 11 / 61 is more than 1 in double precision"
    # Sizes that are estimated may be less than what was read, by rounding.
    census = estimate(["a"] * 5, [5 - 1e-7] * 5, [1.0, 1.0, 1.0, 1.0, 0.0], [True] * 5)
    assert (census.low, census.high, census.effective) == (census.precision, census.precision, None)


@pytest.mark.filterwarnings("error")
def test_all_right_leaves_room_for_what_was_not_read_and_a_census_none() -> None:
    some = estimate(["a"] * 5 + ["b"] * 5, [20] * 10, [1.0] * 10, [True] * 10)
    assert some.precision == 1 and 0.6 < some.low < 0.95
    every = estimate(["a"] * 5, [5] * 5, [1.0, 1.0, 1.0, 1.0, 0.0], [True] * 5)
    assert every.precision == every.low == every.high == pytest.approx(0.8)
    assert every.effective is None


def test_rows_that_nobody_read_or_could_tell_count_apart() -> None:
    result = estimate(
        ["a", "a", "a", "b", "b"], [50, 50, 50, 150, 150], [1.0, 0.5, None, None, None], [True, True, True, True, False]
    )
    assert (result.labels, result.sampled, result.read, result.unsure) == (200, 5, 4, 2)
    assert result.precision == pytest.approx(0.75), "b says nothing, and is taken to be like a"
    assert result.covered == pytest.approx(0.25)


def test_an_estimate_says_what_it_rests_on() -> None:
    strata = [1, 1, 1, 1, "b", "b", None]  # any objects name them
    answered = [True, True, True, False, True, True, False]
    result = estimate(
        strata, [40, 40, 40, 40, 25, 25, 15], [1.0, 0.5, None, None, 1.0, 0.0, None], answered,
        simulated=[False, True, False, False, True, False, False], confidence=0.9,
    )  # fmt: skip
    share, low, high, effective = by_hand([(40, 2, 1.5), (25, 2, 1.0)], 0.9)
    assert asdict(result) == pytest.approx(
        {
            "labels": 80, "sampled": 7, "read": 3, "simulated": 2, "unsure": 1, "precision": share, "low": low,
            "high": high, "effective": effective, "covered": 65 / 80,
        }
    )  # fmt: skip
    assert result.answered == 5
    assert json.loads(json.dumps(asdict(result))) == asdict(result)
    assert known(0.5, 10).answered == 10


def test_nothing_read_is_nothing_known() -> None:
    result = estimate(["a"], [50], [None], [False])
    assert (result.precision, result.low, result.high, result.effective, result.covered) == (None, None, None, None, 0)


def test_more_rows_than_labels_is_refused() -> None:
    with pytest.raises(PolicyError, match="'b' has more judged rows than labels; draw"):
        estimate(["a", "b", "b"], [50, 1, 1], [1.0, 1.0, 1.0], [True, True, True])


def known(precision: float, rows: int) -> Estimate:
    low, high = proportion_confint(precision * rows, rows, method="wilson")
    return Estimate(labels=1e6, sampled=rows, read=rows, unsure=0, precision=precision, low=low, high=high,
                    effective=rows, covered=1)  # fmt: skip


def test_differences_have_newcombes_interval() -> None:
    # Newcombe (1998), table II, (a): 56/70 against 48/80, method 10.
    moved = difference(known(48 / 80, 80), known(56 / 70, 70))
    assert moved == pytest.approx((0.2, 0.0524, 0.3339), abs=2e-4)
    nothing = estimate(["a"], [50], [None], [False])
    assert difference(known(0.5, 10), nothing) is None
    assert difference(nothing, known(0.5, 10)) is None


def test_a_rules_precision_is_mixed_with_ten_rows_of_its_tiers() -> None:
    """(30 · 0.5 + 10 · 0.9) / 40 = 0.6, and 30 are the rows that people or a simulation could tell of."""
    assert towards(known(0.5, 30), known(0.9, 1000)) == pytest.approx(0.6)
    own = replace(known(0.5, 30), read=25, simulated=12, unsure=7)
    assert towards(own, known(0.9, 1000)) == pytest.approx(0.6)
    nothing = estimate(["a"], [50], [None], [False])
    assert towards(nothing, known(0.9, 1000)) == 0.9
    assert towards(nothing, nothing) is None
    assert towards(known(0.5, 30), nothing) is None


@given(st.floats(0, 1), st.integers(1, 500), st.floats(0, 1))
def test_a_rules_precision_lies_between_its_own_and_its_tiers(own, rows, wider) -> None:
    mixed = towards(known(own, rows), known(wider, 1000))
    assert min(own, wider) - 1e-9 <= mixed <= max(own, wider) + 1e-9
    assert abs(mixed - own) <= 10 / (rows + 10) + 1e-9
