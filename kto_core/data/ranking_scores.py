"""How well scores tell desirable rows from undesirable ones; plain numpy, no model."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np


def auc(scores: np.ndarray, desirable: np.ndarray) -> float | None:
    """Chance that a desirable row scores above an undesirable one, ties as half; None with one class only.

    Args:
        scores: float [rows].
        desirable: bool [rows].
    """
    if desirable.all() or not desirable.any():
        return None
    from sklearn.metrics import roc_auc_score  # a second to import, which training goes without

    return float(roc_auc_score(desirable, scores))


def balanced_accuracy(scores: np.ndarray, desirable: np.ndarray, folds: np.ndarray) -> float | None:
    """Mean of both classes' hit rates at a threshold that the rows measured had no part in choosing.

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
        here, there = folds == fold, folds != fold
        if desirable[here].all() or not desirable[here].any():
            return None
        if desirable[there].all() or not desirable[there].any():
            return None
        misses, hits, thresholds = roc_curve(desirable[there], scores[there])
        predicted[here] = scores[here] >= thresholds[np.argmax(hits - misses)]
    return float((predicted[desirable].mean() + (~predicted[~desirable]).mean()) / 2)


def choice_sets(prompts: Sequence[Hashable], desirable: np.ndarray) -> list[np.ndarray]:
    """Row indices of each prompt that has both a desirable and an undesirable completion."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompts):
        members[prompt].append(row)
    sets = [np.array(rows) for rows in members.values()]
    return [rows for rows in sets if desirable[rows].any() and not desirable[rows].all()]


def choice_accuracy(scores: np.ndarray, desirable: np.ndarray, sets: Sequence[np.ndarray]) -> float | None:
    """Share of choice sets whose best-scored completion is desirable; tied bests count by the share that is."""
    if not sets:
        return None
    return float(np.mean([desirable[rows[scores[rows] == scores[rows].max()]].mean() for rows in sets]))


def prior_scores(
    completions: Sequence[str], *, trained: Sequence[str], trained_desirable: np.ndarray, smoothing: float
) -> np.ndarray:
    """Log-odds that this very completion text was desirable in training; what a model must beat to have read prompts.

    With d of n training rows of the text desirable and base rate p, log((d + s·p) / (n − d + s·(1 − p))); a text that
    training never had scores the base rate's log-odds. Training rows of one class tell no text from another: all
    score 0.

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
