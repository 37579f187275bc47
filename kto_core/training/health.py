"""Detects problems of a run on single rows from its figures while it runs, with advice for each.

A figure that the objective lacks is not checked: APO-zero's reference point is 0 and never saturates.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

from kto_core.data.datasets import CLASSES
from kto_core.training.step_figures import Figures

LOGGER: Final = logging.getLogger(__name__)
WINDOW: Final = 10  # steps that a finding is a mean over
MEASUREMENTS: Final = 3  # of the classes' gradients
SATURATED: Final = 3.0  # β·z0, where the sigmoid's slope is 18 % of what it is at 0
DOMINANT: Final = 10.0  # times the other class's gradient
FALLEN: Final = 0.2  # reward lost since the start, where it is 0 for every reply


def troubles(metrics: Sequence[Figures], *, beta: float) -> dict[str, str]:
    """Return the problems at the last of these steps: a sentence by the name of each.

    Args:
        metrics: figures of every step so far, as `train_kto` records them.
        beta: β of the run.

    """
    sentences = {
        "kl saturates": _saturation(metrics, beta),
        "one class dominates": _dominance(metrics, beta),
        "both rewards fall": _fall(metrics),
    }
    return {name: sentence for name, sentence in sentences.items() if sentence}


class Watch:
    """Logs each problem of a run as a warning, once, when it first appears.

    Args:
        beta: β of the run.
        warns: whether this process writes the warnings.

    Attributes:
        reported: the step and the sentence of each problem, by its name.
    """

    def __init__(self, *, beta: float, warns: bool) -> None:
        self._beta = beta
        self._warns = warns
        self._seen = 0
        self._measured: list[Figures] = []  # the latest steps that measured gradients, which may lie far apart
        self.reported: dict[str, dict[str, object]] = {}

    def look(self, metrics: Sequence[Figures]) -> bool:
        """Check the steps since the last call, out of all so far; returns whether no problem has appeared yet."""
        for steps in range(self._seen + 1, len(metrics) + 1):
            near = max(0, steps - WINDOW)
            if near and metrics[near - 1].get("grad_norm_desirable") is not None:
                self._measured = [*self._measured, metrics[near - 1]][-MEASUREMENTS:]
            for name, sentence in troubles([*self._measured, *metrics[near:steps]], beta=self._beta).items():
                if name in self.reported:
                    continue
                self.reported[name] = {"step": metrics[steps - 1]["step"], "what": sentence}
                if self._warns:
                    LOGGER.warning("step %s: %s", steps, sentence)
        self._seen = len(metrics)
        return not self.reported


def _saturation(metrics: Sequence[Figures], beta: float) -> str | None:
    z0 = _mean(metrics[-WINDOW:], "z0")
    if len(metrics) < WINDOW or z0 is None or beta * z0 < SATURATED:
        return None
    gradient_left = 1.0 / math.cosh(beta * z0 / 2) ** 2  # σ(x)·(1 − σ(x)), as a share of its value at 0
    return (
        f"KL saturates: z0 is {z0:.1f} nats and β·z0 {beta * z0:.1f}, so a reply as likely as under the reference "
        f"has {gradient_left:.0%} of its gradient at the start; lower learning_rate or beta, or train fewer steps"
    )


def _dominance(metrics: Sequence[Figures], beta: float) -> str | None:
    pairs = [
        (good, bad)
        for figures in metrics
        if (good := figures.get("grad_norm_desirable")) and (bad := figures.get("grad_norm_undesirable"))
    ][-MEASUREMENTS:]
    if len(pairs) < MEASUREMENTS:
        return None
    ratio = math.exp(math.fsum(math.log(good / bad) for good, bad in pairs) / len(pairs))
    if 1 / DOMINANT < ratio < DOMINANT:
        return None
    larger, smaller = CLASSES if ratio > 1 else CLASSES[::-1]
    if _is_learned(metrics, smaller, beta):
        return None  # its gradient is small because little is left to learn
    return (
        f"one class dominates: the gradient of {larger} rows is {max(ratio, 1 / ratio):.0f} × that of {smaller} ones; "
        f"lower {larger}_weight or raise {smaller}_weight"
    )


def _is_learned(metrics: Sequence[Figures], side: str, beta: float) -> bool:
    """Return whether a class's rows lie so far on their side of z0, on average, that the sigmoid is nearly flat."""
    reward, z0 = (_mean(metrics[-WINDOW:], name) for name in (f"reward_{side}", "z0"))
    if reward is None:
        return False
    return (reward - beta * (z0 or 0.0)) * (1 if side == "desirable" else -1) >= SATURATED


def _fall(metrics: Sequence[Figures]) -> str | None:
    good, bad = (_mean(metrics[-WINDOW:], f"reward_{side}") for side in CLASSES)
    if len(metrics) < WINDOW or good is None or bad is None or max(good, bad) > -FALLEN:
        return None
    # Replies of one desk are alike, so pushing some down pulls others along. A common fall is a different problem.
    if good - bad > -good:
        return None
    return (
        f"both rewards fall: from 0 at the start to {good:.2f} for desirable rows and {bad:.2f} for undesirable ones, "
        "further down than apart, so the model forgets more than it learns to distinguish; lower learning_rate"
    )


def _mean(metrics: Sequence[Mapping[str, float | None]], name: str) -> float | None:
    values = [value for figures in metrics if (value := figures.get(name)) is not None]
    return math.fsum(values) / len(values) if values else None
