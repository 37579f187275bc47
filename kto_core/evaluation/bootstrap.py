"""Cluster bootstrap: how far a held-out figure, or a difference of two, would move with other tickets.

Rows of one ticket are not independent, so whole tickets are drawn with replacement, and a row counts as often as its
ticket was drawn (Efron & Tibshirani 1993; Davison & Hinkley 1997, section 2.4). A statistic takes a matrix of these
counts, one line a draw, and is computed for all draws at once. The same tickets and seed give the same draws, so two
models' figures may be subtracted draw by draw: tickets that are easy or hard for both then cancel.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

DRAWS: Final = 2000
_CELLS: Final = 4_000_000  # counts held at a time: 32 MB

Statistic = Callable[[np.ndarray], np.ndarray]
"""From counts, float64 [draws, rows], to the figure of each draw, [draws]; NaN where a draw has too few rows."""


class Interval(NamedTuple):
    """Confidence interval of a figure, at 95 % unless another level was requested."""

    low: float
    high: float


def bootstrap(
    statistic: Statistic, tickets: Sequence[str] | np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Compute the statistic over resampled tickets, float64 [draws].

    Args:
        statistic: called with a part of the draws at a time.
        tickets: ticket of each row, [rows], at least one.
        draws: number of resamples; 2,000 place the ends of a 95 % interval well.
        seed: decides which tickets each resample holds.
    """
    names, ticket_of_row = np.unique(np.asarray(tickets), return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(len(ticket_of_row), len(names)))
    parts = []
    for start in range(0, draws, step):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=min(step, draws - start))
        parts.append(statistic(counts[:, ticket_of_row].astype(np.float64)))
    return np.concatenate(parts)


def interval(values: np.ndarray, *, level: float = 0.95) -> Interval | None:
    """Return the percentile interval of bootstrap `values`, without NaN draws; None where all are NaN."""
    usable = values[~np.isnan(values)]
    if not len(usable):
        return None
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def mean_of(values: np.ndarray) -> Statistic:
    """Return the mean of `values`, float [rows], as a statistic."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        return _over(counts @ values, counts.sum(1))

    return statistic


def auc_of(scores: np.ndarray, desirable: np.ndarray, groups: Sequence[str] | np.ndarray | None = None) -> Statistic:
    """Return AUC as a statistic: the chance that a desirable row scores above an undesirable one, ties as half.

    Pairs are all (desirable, undesirable) pairs within a group. With categories as groups the result equals
    `kto_core.evaluation.heldout.auc_within`, without groups `kto_core.data.ranking_scores.auc`.

    Args:
        scores: float [rows].
        desirable: bool [rows].
        groups: the group of each row; None puts all in one.
    """
    group = np.zeros(len(scores), dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = np.lexsort((scores, group))
    group, score, good = group[order], scores[order], desirable[order]
    # For every row: where its group starts, and where the rows of its score start and end.
    begins = _starts(group[1:] != group[:-1])
    level = _starts((group[1:] != group[:-1]) | (score[1:] != score[:-1]))
    ends = len(level) - _starts(((group[1:] != group[:-1]) | (score[1:] != score[:-1]))[::-1])[::-1]
    last = len(group) - _starts((group[1:] != group[:-1])[::-1])[::-1]

    def statistic(counts: np.ndarray) -> np.ndarray:
        counts = counts[:, order]
        below = np.zeros((len(counts), len(order) + 1))
        np.cumsum(counts * ~good, axis=1, out=below[:, 1:])
        wins = (below[:, level] + below[:, ends]) / 2 - below[:, begins]
        all_pairs = below[:, last] - below[:, begins]
        liked = counts * good
        return _over((liked * wins).sum(1), (liked * all_pairs).sum(1))

    return statistic


def balanced_accuracy_of(scores: np.ndarray, desirable: np.ndarray, folds: np.ndarray) -> Statistic:
    """Return `kto_core.data.ranking_scores.balanced_accuracy` as a statistic, with new thresholds in every draw.

    Args:
        scores: float [rows].
        desirable: bool [rows].
        folds: 0 or 1 for each row; rows of one ticket share a fold.
    """

    def statistic(counts: np.ndarray) -> np.ndarray:
        if folds.all() or not folds.any():
            return np.full(len(counts), np.nan)
        hits, totals = np.zeros((2, len(counts))), np.zeros((2, len(counts)))
        lacking = np.zeros(len(counts), dtype=bool)
        for fold in (0, 1):
            in_fold, in_other = folds == fold, folds != fold
            above = (
                scores[in_fold] >= _best_thresholds(scores[in_other], desirable[in_other], counts[:, in_other])[:, None]
            )
            for side, side_rows, right in ((0, desirable[in_fold], above), (1, ~desirable[in_fold], ~above)):
                counted = counts[:, in_fold] * side_rows
                hits[side] += (counted * right).sum(1)
                totals[side] += counted.sum(1)
                lacking |= counted.sum(1) == 0
        rates = _over(hits[0], totals[0]) / 2 + _over(hits[1], totals[1]) / 2
        return np.where(lacking, np.nan, rates)

    return statistic


def _best_thresholds(scores: np.ndarray, desirable: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return each draw's threshold of the best balanced accuracy, [draws]: rows at or above it count as desirable."""
    order = np.argsort(-scores, kind="stable")
    score, good, counts = scores[order], desirable[order], counts[:, order]
    hits, misses = (np.cumsum(counts * of, axis=1) for of in (good, ~good))
    with np.errstate(invalid="ignore"):
        gain = hits / hits[:, -1:] - misses / misses[:, -1:]
    gain[:, :-1][:, score[1:] == score[:-1]] = -np.inf  # a threshold takes all rows of its score
    best = np.argmax(gain, axis=1)
    # No threshold may be best: then no score is high enough.
    return np.where(gain[np.arange(len(gain)), best] > 0, score[best], np.inf)


def _starts(changes: np.ndarray) -> np.ndarray:
    """Return the start of each row's run of equal rows; `changes` marks rows that differ from the one before."""
    places = np.concatenate([[0], np.where(changes, np.arange(1, len(changes) + 1), 0)])
    return np.asarray(np.maximum.accumulate(places))


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide `above` by `below`; NaN where `below` is 0."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))
