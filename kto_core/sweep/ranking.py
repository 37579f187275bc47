"""Rank the trials of a sweep: the best, those as good, and those on the Pareto front."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from kto_core.base.config import KTOConfig
from kto_core.evaluation.bootstrap import interval


def ranked(trials: Iterable[FrozenTrial], objective: str, higher: bool) -> list[FrozenTrial]:
    """Sort the trials with figures, best first; of equal ones the nearer to the reference first."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    distance = _distance(complete)
    sign = -1 if higher else 1
    return sorted(complete, key=lambda trial: (sign * trial.user_attrs[objective], trial.user_attrs[distance]))


def compared(
    trials: Sequence[FrozenTrial],
    draws: Sequence[np.ndarray | None],
    base: KTOConfig,
    objective: str,
    higher: bool,
) -> dict[str, Any]:
    """Compare each trial with the others.

    Args:
        trials: trials in the order of `ranked`, at least one.
        draws: the objective of each over the same resampled tickets, or None if unknown.
        base: the settings that the sweep started from.
        objective: the figure that ranks trials.
        higher: whether higher is better.

    Returns:
        `trials`, with settings and figures, each `as_set` if those are the base's settings, `pareto` if no other is
        both better and nearer to the reference, `behind` (the 95 % interval of its figure minus the best one's) and
        `as_good` (the interval contains 0; None where unknown); `distance`, the figure that measures nearness; and
        `nearest`, the settings of the nearest trial as good as the best.
    """
    distance = _distance(trials)
    sign = 1 if higher else -1
    places = [(sign * trial.user_attrs[objective], -trial.user_attrs[distance]) for trial in trials]
    intervals = [None if own is None or draws[0] is None else interval(own - draws[0]) for own in draws]
    rows: list[dict[str, Any]] = [
        {
            "trial": trial.number,
            "settings": trial.params,
            "as_set": all(getattr(base, name) == value for name, value in trial.params.items()),
            "pareto": not any(q >= quality and n >= nearness and (q, n) != (quality, nearness) for q, n in places),
            "behind": difference and {"low": difference.low, "high": difference.high},
            "as_good": trial is trials[0] or (difference.low <= 0 <= difference.high if difference else None),
            **trial.user_attrs,
        }
        for trial, (quality, nearness), difference in zip(trials, places, intervals, strict=True)
    ]
    nearest = min((row for row in rows if row["as_good"]), key=lambda row: float(row[distance]))
    return {"distance": distance, "trials": rows, "nearest": nearest["settings"]}


def _distance(trials: Sequence[FrozenTrial]) -> str:
    """Return the figure for the distance of trials: KL on held-out prompts, or z0 where KL was not measured."""
    return "z0" if any(trial.user_attrs["kl"] is None for trial in trials) else "kl"
