"""The training curve as one figure, for the model folder, the Dagster page and the model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Metrics = Sequence[Mapping[str, float | None]]
DESIRABLE, UNDESIRABLE, NEUTRAL = "#1b7f5c", "#c2452d", "#3b4a6b"


def draw_sft_curve(metrics: Metrics, path: Path) -> None:
    """Draw the loss a completion token by step."""
    figure, (axis,) = _figure(1)
    _line(axis, metrics, "loss", NEUTRAL, "loss a token")
    axis.set_title("SFT")
    _finish(figure, path)


def draw_kto_curve(metrics: Metrics, path: Path) -> None:
    """Draw loss, rewards, z0 (before and after the clamp) and gradients by step, desirable and undesirable apart."""
    figure, (loss, reward, z0, gradient) = _figure(4)
    _line(loss, metrics, "loss", NEUTRAL, "all")
    _line(loss, metrics, "loss_desirable", DESIRABLE, "desirable")
    _line(loss, metrics, "loss_undesirable", UNDESIRABLE, "undesirable")
    loss.set_title("loss")
    _line(reward, metrics, "reward_desirable", DESIRABLE, "desirable")
    _line(reward, metrics, "reward_undesirable", UNDESIRABLE, "undesirable")
    reward.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    reward.set_title("reward  β·(log π − log π_ref)")
    _line(z0, metrics, "z0_raw", "0.6", "before the clamp")
    _line(z0, metrics, "z0", NEUTRAL, "z0")
    z0.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    z0.set_title("z0, nats")
    _line(gradient, metrics, "grad_norm", NEUTRAL, "all")
    _line(gradient, metrics, "grad_norm_desirable", DESIRABLE, "desirable")
    _line(gradient, metrics, "grad_norm_undesirable", UNDESIRABLE, "undesirable")
    gradient.set_ylim(bottom=0)
    gradient.set_title("norm of the gradient")
    _finish(figure, path)


def draw_pair_curve(metrics: Metrics, path: Path, *, objective: str) -> None:
    """Draw loss, rewards of chosen and rejected, the share of pairs in order, and the gradient by step."""
    figure, (loss, reward, accuracy, gradient) = _figure(4)
    _line(loss, metrics, "loss", NEUTRAL, objective)
    loss.set_title("loss")
    _line(reward, metrics, "reward_chosen", DESIRABLE, "chosen")
    _line(reward, metrics, "reward_rejected", UNDESIRABLE, "rejected")
    reward.set_title("reward")
    _line(accuracy, metrics, "accuracy", NEUTRAL, "chosen above rejected")
    accuracy.set_ylim(0, 1.02)
    accuracy.set_title("share of pairs in order")
    _line(gradient, metrics, "grad_norm", NEUTRAL, "all")
    gradient.set_ylim(bottom=0)
    gradient.set_title("norm of the gradient")
    _finish(figure, path)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.2 * panels, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for axis in axes:
        axis.set_xlabel("step")
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(axis: Axes, metrics: Metrics, name: str, color: str, label: str) -> None:
    """The figure a step, faint, and its running mean over a twentieth of the steps; steps without it are left out."""
    points = [(m["step"], m[name]) for m in metrics if m.get(name) is not None]
    if not points:
        return
    steps, values = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
    window = max(1, len(values) // 20)
    padded = np.concatenate([np.full(window - 1, values[0]), values])
    axis.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
    axis.plot(
        steps,
        np.convolve(padded, np.ones(window) / window, mode="valid"),
        color=color,
        linewidth=1.6,
        label=label,
    )


def _finish(figure: Figure, path: Path) -> None:
    for axis in figure.axes:
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=85)  # a thousand pixels wide, as much as pages show at once
