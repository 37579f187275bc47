"""Measures of how well scores separate desirable rows from undesirable ones; plain numpy, no model."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np


def auc(scores: np.ndarray, desirable: np.ndarray) -> float | None:
    """Return the chance that a desirable row scores above an undesirable one, ties as half; None with one class only.

    Args:
        scores: float [rows].
        desirable: bool [rows].
    """
    if desirable.all() or not desirable.any():
        return None
    from sklearn.metrics import roc_auc_score  # a second to import, which training goes without

    return float(roc_auc_score(desirable, scores))


def balanced_accuracy(scores: np.ndarray, desirable: np.ndarray, folds: np.ndarray) -> float | None:
    """Return the mean of both classes' hit rates, at a threshold chosen on other rows.

    The threshold of each fold is the one with the best balanced accuracy on the other fold; predictions of both are
    pooled.

    Args:
        scores: float [rows].
        desirable: bool [rows].
        folds: 0 or 1 for each row; rows of one ticket share a fold.

    Returns:
        Between 0 and 1, or None where a fold lacks a class.
    """
    from sklearn.metrics import roc_curve

    predicted = np.zeros(len(scores), dtype=bool)
    for fold in (0, 1):
        in_fold, in_other = folds == fold, folds != fold
        if desirable[in_fold].all() or not desirable[in_fold].any():
            return None
        if desirable[in_other].all() or not desirable[in_other].any():
            return None
        misses, hits, thresholds = roc_curve(desirable[in_other], scores[in_other])
        predicted[in_fold] = scores[in_fold] >= thresholds[np.argmax(hits - misses)]
    return float((predicted[desirable].mean() + (~predicted[~desirable]).mean()) / 2)


def choice_sets(prompts: Sequence[Hashable], desirable: np.ndarray) -> list[np.ndarray]:
    """Return row indices of each prompt that has both a desirable and an undesirable completion."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        members[prompt].append(row)
    sets = [np.array(rows) for rows in members.values()]
    return [rows for rows in sets if desirable[rows].any() and not desirable[rows].all()]


def choice_accuracy(scores: np.ndarray, desirable: np.ndarray, sets: Sequence[np.ndarray]) -> float | None:
    """Return the share of choice sets whose best-scored completion is desirable; ties count by desirable share."""
    if not sets:
        return None
    return float(np.mean([desirable[rows[scores[rows] == scores[rows].max()]].mean() for rows in sets]))


def prior_scores(
    completions: Sequence[str], *, trained: Sequence[str], trained_desirable: np.ndarray, smoothing: float
) -> np.ndarray:
    """Return the log-odds that each completion text was desirable in training, a baseline that reads no prompt.

    With d of n training rows of the text desirable and base rate p, log((d + s·p) / (n − d + s·(1 − p))); a text that
    is not in training scores the base rate's log-odds. With training rows of one class only, all texts score 0.

    Args:
        completions: texts to score.
        trained: completion of every training row.
        trained_desirable: their labels, bool.
        smoothing: s, in pseudo-counts.
    """
    good = Counter(text for text, label in zip(trained, trained_desirable, strict=True) if label)
    bad = Counter(text for text, label in zip(trained, trained_desirable, strict=True) if not label)
    rate = float(trained_desirable.mean())
    if rate in (0.0, 1.0):
        return np.zeros(len(completions))
    return np.array(
        [math.log((good[text] + smoothing * rate) / (bad[text] + smoothing * (1 - rate))) for text in completions]
    )
