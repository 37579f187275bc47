"""Bootstrap: its statistics equal those of evaluation, and its intervals have the stated coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_core.data.ranking_scores import auc, balanced_accuracy
from kto_core.evaluation.bootstrap import auc_of, balanced_accuracy_of, bootstrap, interval, mean_of
from kto_core.evaluation.heldout import auc_within

ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from("abc"), st.integers(0, 6)), min_size=1, max_size=40
)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(0, 2**32))
def test_a_draw_counts_rows_as_if_they_were_written_out(rows, seed):
    """For any counts, the figure equals that of `scores` on rows repeated as often."""
    score, good, category, ticket = map(np.array, zip(*rows, strict=True))
    score, good, folds = score.astype(float), good.astype(bool), ticket % 2
    counts = np.random.default_rng(seed).integers(0, 4, size=(3, len(rows)))
    found = {
        "auc": auc_of(score, good)(counts.astype(float)),
        "within": auc_of(score, good, category)(counts.astype(float)),
        "accuracy": balanced_accuracy_of(score, good, folds)(counts.astype(float)),
        "mean": mean_of(score)(counts.astype(float)),
    }
    for draw, times in enumerate(counts):
        at = np.repeat(np.arange(len(rows)), times)
        if not len(at):
            assert all(np.isnan(values[draw]) for values in found.values())
            continue
        parts = [
            {"desirable": good[of].sum(), "undesirable": (~good[of]).sum(), "auc_it": auc(score[of], good[of])}
            for of in (at[category[at] == name] for name in set(category[at]))
        ]
        expected = {
            "auc": auc(score[at], good[at]),
            "within": auc_within(parts, "it"),
            "accuracy": balanced_accuracy(score[at], good[at], folds[at]),
            "mean": score[at].mean(),
        }
        for name, value in expected.items():
            assert found[name][draw] == pytest.approx(np.nan if value is None else value, abs=1e-12, nan_ok=True)


def clustered(rng, tickets=60):
    """Rows whose tickets differ: each ticket's rows share a level. The mean is 0."""
    sizes = rng.integers(1, 8, size=tickets)
    whose = np.repeat(np.arange(tickets), sizes)
    return rng.normal(size=tickets)[whose] + 0.5 * rng.normal(size=len(whose)), whose


def test_a_95_percent_interval_covers_about_95_times_of_a_hundred():
    rng = np.random.default_rng(7)
    covered = {"tickets": 0, "rows": 0}
    trials = 200
    for seed in range(trials):
        values, whose = clustered(rng)
        for name, units in (("tickets", whose), ("rows", np.arange(len(whose)))):
            low, high = interval(bootstrap(mean_of(values), units, draws=200, seed=seed))
            covered[name] += low <= 0 <= high
    assert 0.90 <= covered["tickets"] / trials <= 0.98
    assert covered["rows"] / trials < 0.85, "as if rows were independent, it would be far too narrow"


def test_the_interval_of_a_difference_covers_too_and_is_narrower_than_its_parts():
    """Two scores of the same rows; the true difference of their AUCs is known from many rows."""

    def draw(rng, tickets):
        whose = np.repeat(np.arange(tickets), 4)
        good = rng.random(len(whose)) < 0.4
        hard = rng.normal(size=tickets)[whose] + rng.normal(size=len(whose))
        return whose, good, hard + 1.0 * good, hard + 0.7 * good + 0.3 * rng.normal(size=len(whose))

    _, good, a, b = draw(np.random.default_rng(1), 50_000)
    truth = auc(a, good) - auc(b, good)
    rng, covered, widths = np.random.default_rng(2), 0, []
    for seed in range(120):
        whose, good, a, b = draw(rng, 60)
        first, second = (bootstrap(auc_of(s, good), whose, draws=300, seed=seed) for s in (a, b))
        low, high = interval(first - second)
        covered += low <= truth <= high
        widths.append((high - low) / np.ptp(interval(first)))
    assert 0.88 <= covered / 120 <= 0.99
    assert np.median(widths) < 0.6


def test_draws_follow_from_tickets_and_seed_however_they_are_cut(monkeypatch):
    values, whose = clustered(np.random.default_rng(0))
    whole = bootstrap(mean_of(values), whose, draws=50, seed=3)
    monkeypatch.setattr("kto_core.evaluation.bootstrap._CELLS", 1)
    one_by_one = bootstrap(mean_of(values), whose, draws=50, seed=3)
    assert np.allclose(whole, one_by_one, rtol=0, atol=1e-12)
    assert not np.allclose(whole, bootstrap(mean_of(values), whose, draws=50, seed=4))


def test_what_no_draw_can_tell_has_no_interval():
    nothing = auc_of(np.arange(3.0), np.ones(3, dtype=bool))
    assert interval(bootstrap(nothing, ["a", "b", "c"], draws=20)) is None
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
