"""A sweep's trials against one another: which is best, which are as good, which no other beats."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from kto_core.base.config import KTOConfig
from kto_core.evaluation.bootstrap import interval


def ranked(trials: Iterable[FrozenTrial], objective: str, higher: bool) -> list[FrozenTrial]:
    """Trials that gave figures, best first; of equals the nearer to the reference."""
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
    """What each trial is beside the others.

    Args:
        trials: as `ranked` gives them, one at least.
        draws: the objective of each over resampled tickets, the same for all, if it is known.
        base: the settings that the sweep started from.
        objective: the figure that they are ranked by.
        higher: whether it is better high.

    Returns:
        `trials`, with settings and figures, each `as_set` if those are the base's settings, `pareto` if no other is
        both better and nearer to the reference, `behind` (the 95 % interval of its figure minus the best one's) and
        `as_good` (that holds 0; None where it is not known); `distance`, the figure that nearness goes by; and
        `nearest`, the settings of the nearest of those as good as the best.
    """
    distance = _distance(trials)
    sign = 1 if higher else -1
    places = [(sign * trial.user_attrs[objective], -trial.user_attrs[distance]) for trial in trials]
    intervals = [None if one is None or draws[0] is None else interval(one - draws[0]) for one in draws]
    rows: list[dict[str, Any]] = [
        {
            "trial": trial.number,
            "settings": trial.params,
            "as_set": all(getattr(base, name) == value for name, value in trial.params.items()),
            "pareto": not any(one >= at and two >= near and (one, two) != (at, near) for one, two in places),
            "behind": found and {"low": found.low, "high": found.high},
            "as_good": trial is trials[0] or (found.low <= 0 <= found.high if found else None),
            **trial.user_attrs,
        }
        for trial, (at, near), found in zip(trials, places, intervals, strict=True)
    ]
    nearest = min((row for row in rows if row["as_good"]), key=lambda row: float(row[distance]))
    return {"distance": distance, "trials": rows, "nearest": nearest["settings"]}


def _distance(trials: Sequence[FrozenTrial]) -> str:
    """The figure that says how far trials went: KL on held-out prompts, or z0 where that was not measured."""
    return "z0" if any(trial.user_attrs["kl"] is None for trial in trials) else "kl"
