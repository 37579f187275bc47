"""Draw training curves, one figure a run, for the model folder, the Dagster page and the model card."""

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
    """Draw a KTO run by step, each class apart: loss, reward, distance from the reference, gradients and speed."""
    figure, (loss, reward, distance, gradient, completion, speed) = _figure(3, rows=2)
    _line(loss, metrics, "loss", NEUTRAL, "all")
    _classes(loss, metrics, "loss")
    loss.set_title("loss")
    _classes(reward, metrics, "reward")
    reward.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    reward.set_title("reward  β·(log π − log π_ref)")
    _line(distance, metrics, "z0_raw", "0.6", "z0 before the clamp")
    _line(distance, metrics, "z0", NEUTRAL, "z0")
    _points(distance, metrics, "kl", UNDESIRABLE, "KL(π_ref, π), held out")
    distance.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    distance.set_title("distance from the reference, nats")
    _line(gradient, metrics, "grad_norm", NEUTRAL, "all")
    _classes(gradient, metrics, "grad_norm")
    gradient.set_ylim(bottom=0)
    gradient.set_title("norm of the gradient")
    _classes(completion, metrics, "completion")
    completion.set_ylim(bottom=0)
    completion.set_title("completion tokens")
    _line(speed, metrics, "tokens_per_second", NEUTRAL, "_")
    speed.set_ylim(bottom=0)
    speed.set_ylabel("tokens a second", color=NEUTRAL)
    rate = speed.twinx()
    rate.spines[["top"]].set_visible(False)
    _line(rate, metrics, "learning_rate", "0.6", "_")
    rate.ticklabel_format(axis="y", scilimits=(0, 0))
    rate.set_ylim(bottom=0)
    rate.set_ylabel("learning rate", color="0.5")
    speed.set_title(f"speed and rate; {_mean(metrics, 'padding'):.0%} padding")
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


def _figure(panels: int, *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.2 * panels, 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, panels, i + 1) for i in range(rows * panels)]
    for axis in axes:
        axis.set_xlabel("step")
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(axis: Axes, metrics: Metrics, name: str, color: str, label: str) -> None:
    """Draw a figure by step, faint, and its running mean over a twentieth of the steps; skips steps without it."""
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


def _classes(axis: Axes, metrics: Metrics, name: str) -> None:
    _line(axis, metrics, f"{name}_desirable", DESIRABLE, "desirable")
    _line(axis, metrics, f"{name}_undesirable", UNDESIRABLE, "undesirable")


def _points(axis: Axes, metrics: Metrics, name: str, color: str, label: str) -> None:
    """Draw a figure that few steps have."""
    points = [(m["step"], m[name]) for m in metrics if m.get(name) is not None]
    if points:
        axis.plot(*zip(*points, strict=True), color=color, marker="o", markersize=4, linewidth=0.8, label=label)


def _mean(metrics: Metrics, name: str) -> float:
    return float(np.mean([m[name] for m in metrics]))


def _finish(figure: Figure, path: Path) -> None:
    for axis in figure.axes:
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=85)  # a thousand pixels wide, as much as pages show at once
