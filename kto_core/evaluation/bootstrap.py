"""How far a held-out figure, or the difference of two, would move with other tickets: a cluster bootstrap.

Rows of one ticket are not independent, so whole tickets are drawn with replacement, and a row counts as often as its
ticket was drawn (Efron & Tibshirani 1993; Davison & Hinkley 1997, section 2.4). A statistic takes a matrix of such
counts, a draw a line, and is worked out for all draws at once. The same tickets and seed give the same draws, so that
two models' figures may be subtracted draw by draw: what is easy or hard for both then cancels.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

DRAWS: Final = 2000
_CELLS: Final = 4_000_000  # counts held at a time: 32 MB

Statistic = Callable[[np.ndarray], np.ndarray]
"""From counts, float64 [draws, rows], to the figure of each draw, [draws]; NaN where a draw cannot tell."""


class Interval(NamedTuple):
    """Where a figure lies with 95 % confidence, or whatever level was asked for."""

    low: float
    high: float


def bootstrap(
    statistic: Statistic, tickets: Sequence[str] | np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """The statistic over resampled tickets, float64 [draws].

    Args:
        statistic: called with some of the draws at a time.
        tickets: whose each row is, [rows], one at least.
        draws: how many resamples; 2,000 place the ends of a 95 % interval well.
        seed: decides which tickets each holds.
    """
    names, whose = np.unique(np.asarray(tickets), return_inverse=True)
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // max(len(whose), len(names)))
    parts = []
    for at in range(0, draws, step):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=min(step, draws - at))
        parts.append(statistic(counts[:, whose].astype(np.float64)))
    return np.concatenate(parts)


def interval(values: np.ndarray, *, level: float = 0.95) -> Interval | None:
    """The percentile interval of bootstrap `values`; draws that cannot tell are left out, None where all are."""
    told = values[~np.isnan(values)]
    if not len(told):
        return None
    low, high = np.quantile(told, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def mean_of(values: np.ndarray) -> Statistic:
    """The mean of `values`, float [rows]."""

    def statistic(counts: np.ndarray) -> np.ndarray:
        return _over(counts @ values, counts.sum(1))

    return statistic


def auc_of(scores: np.ndarray, desirable: np.ndarray, groups: Sequence[str] | np.ndarray | None = None) -> Statistic:
    """The chance that a desirable row scores above an undesirable one of its group, ties as half.

    Over all (desirable, undesirable) pairs of one group each: with categories as groups it is
    `kto_core.evaluation.heldout.auc_within`, without any `kto_core.data.ranking_scores.auc`.

    Args:
        scores: float [rows].
        desirable: bool [rows].
        groups: the group of each row; none puts all in one.
    """
    group = np.zeros(len(scores), dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = np.lexsort((scores, group))
    group, score, good = group[order], scores[order], desirable[order]
    # Places where a group starts, and where rows of one score start and end, as every row sees them.
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
    """`kto_core.data.ranking_scores.balanced_accuracy`, thresholds chosen anew in every draw.

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
            here, there = folds == fold, folds != fold
            above = scores[here] >= _best_thresholds(scores[there], desirable[there], counts[:, there])[:, None]
            for side, of, right in ((0, desirable[here], above), (1, ~desirable[here], ~above)):
                part = counts[:, here] * of
                hits[side] += (part * right).sum(1)
                totals[side] += part.sum(1)
                lacking |= part.sum(1) == 0
        rates = _over(hits[0], totals[0]) / 2 + _over(hits[1], totals[1]) / 2
        return np.where(lacking, np.nan, rates)

    return statistic


def _best_thresholds(scores: np.ndarray, desirable: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The score, of each draw, from which on to call rows desirable for the best balanced accuracy; [draws]."""
    order = np.argsort(-scores, kind="stable")
    score, good, counts = scores[order], desirable[order], counts[:, order]
    hits, misses = (np.cumsum(counts * of, axis=1) for of in (good, ~good))
    with np.errstate(invalid="ignore"):
        gain = hits / hits[:, -1:] - misses / misses[:, -1:]
    gain[:, :-1][:, score[1:] == score[:-1]] = -np.inf  # a threshold takes all rows of its score
    best = np.argmax(gain, axis=1)
    # None at all may be best: then no score is high enough.
    return np.where(gain[np.arange(len(gain)), best] > 0, score[best], np.inf)


def _starts(changes: np.ndarray) -> np.ndarray:
    """Where the run of equal rows that each row is in starts, given where a row differs from the one before it."""
    places = np.concatenate([[0], np.where(changes, np.arange(1, len(changes) + 1), 0)])
    return np.asarray(np.maximum.accumulate(places))


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0))
