"""Figures of a step on single rows, by class, and the summary of a run."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kto_core.data.datasets import CLASSES

Figures = dict[str, float | None]

# Summed over groups and processes to describe a step.
SUMS = (
    "rows_desirable",
    "rows_undesirable",
    "loss_desirable",
    "loss_undesirable",
    "reward_desirable",
    "reward_undesirable",
    "completion_desirable",
    "completion_undesirable",
    "groups",
    "z0_raw",
    "z0",
    "tokens",
    "computed",
)


def sum_group(
    losses: Tensor, rewards: Tensor, lengths: Tensor, desirable: Tensor, *, z0_raw: Tensor | None, z0: Tensor | None
) -> Tensor:
    """Return a group's part of `SUMS`, all but the tokens, float64 [11], without gradient.

    Args:
        losses: of each row, [B].
        rewards: of each row, [B].
        lengths: completion tokens of each row, [B].
        desirable: bool [B].
        z0_raw: mean log-ratio of the mismatched pairs, before the clamp at 0; None where the objective reads no z0.
        z0: the same after the clamp.
    """
    by_class = [
        values.detach()[side].sum()
        for values in (torch.ones_like(losses), losses, rewards, lengths)
        for side in (desirable, ~desirable)
    ]
    others = (0.0, 0.0, 0.0) if z0_raw is None or z0 is None else (1.0, z0_raw, z0)
    whole = [torch.as_tensor(value, device=losses.device) for value in others]
    return torch.stack([value.double() for value in [*by_class, *whole]])


def describe(sums: Mapping[str, float]) -> Figures:
    """Compute means from sums; None for a class without rows in this step, and for z0 where the objective reads none.

    `padding` is the share of padding in the tokens computed.
    """
    figures: Figures = {}
    for side in CLASSES:
        rows = sums[f"rows_{side}"]
        figures[f"rows_{side}"] = rows
        for name in ("loss", "reward", "completion"):
            figures[f"{name}_{side}"] = sums[f"{name}_{side}"] / rows if rows else None
    good, bad = figures["reward_desirable"], figures["reward_undesirable"]
    return figures | {
        "loss": (sums["loss_desirable"] + sums["loss_undesirable"])
        / (sums["rows_desirable"] + sums["rows_undesirable"]),
        "margin": good - bad if good is not None and bad is not None else None,
        "tokens": sums["tokens"],
        "z0": sums["z0"] / sums["groups"] if sums["groups"] else None,
        "z0_raw": sums["z0_raw"] / sums["groups"] if sums["groups"] else None,
        "padding": 1.0 - sums["tokens"] / sums["computed"],
    }


def summarize(metrics: Sequence[Figures]) -> Figures:
    """Summarize a run: means over the first and the last tenth of its steps."""
    of_last = ("reward_desirable", "reward_undesirable", "z0", "z0_raw", "grad_norm")
    return summarize_steps(metrics, of_last=of_last) | {
        "kl": next((m["kl"] for m in reversed(metrics) if m["kl"] is not None), None),
        "padding": mean(metrics, "padding"),
    }


def summarize_steps(metrics: Sequence[Figures], *, of_last: Sequence[str] = ()) -> Figures:
    """Summarize any run: loss, speed, and the means of the figures `of_last` over the last tenth of steps.

    `step_seconds` is the time of all steps together, without loading, tokenizing, measuring or checkpoints.
    """
    if not metrics:
        return {"steps": 0, "step_seconds": 0.0}
    tenth = max(1, len(metrics) // 10)
    seconds = [m["seconds"] or 0.0 for m in metrics]
    return {
        "steps": len(metrics),
        "loss_first": mean(metrics[:tenth], "loss"),
        "loss_last": mean(metrics[-tenth:], "loss"),
        **{name: mean(metrics[-tenth:], name) for name in of_last},
        "step_seconds": math.fsum(seconds),
        "steps_per_second": 1.0 / float(np.median(seconds)),
        "tokens_per_second": mean(metrics, "tokens_per_second"),
    }


def mean(metrics: Sequence[Figures], name: str) -> float | None:
    """Return the mean of a figure over the steps that have it; with float16 a skipped step has no `grad_norm`."""
    values = [value for m in metrics if (value := m[name]) is not None]
    return math.fsum(values) / len(values) if values else None
