"""Draw a sweep: quality by setting, and quality against the distance from the reference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from kto_core.base.figures import FIGURES, SWEEP_FIGURES
from kto_core.sweep.space import SWEPT, settings_text
from kto_core.training.curves import NEUTRAL

NAMES: Final = {
    **{name: f"{FIGURES[name].title}, held out" for name in SWEEP_FIGURES},
    "kl": "KL from the reference on held-out prompts, nats a reply",
    "z0": "z0, nats: KL from the reference as training estimates it",
}
STYLES: Final = ("-", "--", ":", "-.")
MOST: Final = 6  # values of a setting that get a colour and a line each

Trial = Mapping[str, Any]
Line = tuple[str | None, tuple[Any, str], list[Trial]]
"""Name of a group of trials, its colour and line style, and the trials."""


def draw_sweep(result: Mapping[str, Any], path: Path) -> None:
    """Draw the result of `kto_core.run_sweep`: a row for its objective, and one for the desk's first KPI."""
    goal = result["objective"]["name"]
    goals = [goal, *[name for name in result["kpis"] if name != goal][:1]]
    # The first setting that varies is the x axis; each value of the others gives a line.
    across, *others = sorted(result["space"], key=lambda name: len(result["space"][name]) == 1)
    lines = _lines(result["trials"], [name for name in others if len(result["space"][name]) > 1])
    figure = Figure(figsize=(11.5, 0.6 + 4.0 * len(goals)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(goals), 2, sharex="col", sharey="row", squeeze=False)
    for name, (left, right) in zip(goals, axes, strict=True):
        _panels(left, right, result, lines, name, across)
    _front(axes[0, 1], result["trials"], goal, result["distance"], across)
    axes[0, 0].set_title(f"best: {settings_text(result['best']['settings'])}", fontsize=10)
    axes[0, 1].set_title("trade-off; the line joins trials that no other beats in both", fontsize=10)
    axes[0, 0].margins(y=0.12)  # room for the names of points
    axes[-1, 0].set_xlabel(SWEPT[across])
    axes[-1, 1].set_xlabel(NAMES[result["distance"]])
    _scale(axes[-1, 0], [trial["settings"][across] for trial in result["trials"]], exact=result["sampler"] == "grid")
    _scale(axes[-1, 1], [trial[result["distance"]] for trial in result["trials"]])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)


def _panels(left: Axes, right: Axes, result: Mapping[str, Any], lines: Sequence[Line], goal: str, across: str) -> None:
    """Draw one figure of all trials: by setting, and by the distance from the reference."""
    best, distance = result["trials"][0], result["distance"]
    for name, (color, style), trials in lines:
        points = sorted(trials, key=lambda trial: trial["settings"][across])
        values = [trial[goal] for trial in points]
        left.plot(
            [trial["settings"][across] for trial in points],
            values,
            marker="o",
            linestyle=style if result["sampler"] == "grid" else "none",
            color=color,
            label=name,
        )
        right.plot([trial[distance] for trial in points], values, "o", color=color)
    for axis, at in ((left, best["settings"][across]), (right, best[distance])):
        axis.plot(at, best[goal], "o", markersize=13, markerfacecolor="none", color="black", label="best")
        axis.axhline(result["reference"][goal], color=NEUTRAL, linestyle="--", linewidth=1, label="reference")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.93")
        axis.set_axisbelow(True)
    left.set_ylabel(NAMES.get(goal, goal.replace("_", " ")))


def _lines(trials: Sequence[Trial], others: Sequence[str]) -> list[Line]:
    """Group trials that differ only in the x setting; with too many groups, only the outermost have names."""
    if not others:
        return [(None, (NEUTRAL, "-"), list(trials))]
    color, *style = others
    colors = sorted({trial["settings"][color] for trial in trials})
    styles = sorted({trial["settings"][style[0]] for trial in trials}) if style else [None]
    few = len(colors) <= MOST and len(styles) <= len(STYLES)
    shades = dict(zip(colors, colormaps["viridis"](np.linspace(0, 0.85, len(colors))), strict=True))
    lines: dict[tuple[float, ...], list[Trial]] = {}
    for trial in trials:
        lines.setdefault(tuple(trial["settings"][name] for name in others), []).append(trial)
    named = sorted(lines) if few else [min(lines), max(lines)]
    return [
        (
            settings_text(dict(zip(others, values, strict=True))) if values in named else None,
            (shades[values[0]], STYLES[styles.index(values[1])] if style and few else "-"),
            lines[values],
        )
        for values in sorted(lines)
    ]


def _front(axis: Axes, trials: Sequence[Trial], goal: str, distance: str, across: str) -> None:
    """Join the trials on the Pareto front of quality and distance, and label each with its setting."""
    front = sorted((trial for trial in trials if trial["pareto"]), key=lambda trial: trial[distance])
    axis.plot([t[distance] for t in front], [t[goal] for t in front], color="0.6", linewidth=0.9, zorder=0)
    for trial in front:
        axis.annotate(
            f"{SWEPT[across]} {trial['settings'][across]:.3g}",
            (trial[distance], trial[goal]),
            xytext=(0, 10),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color="0.35",
        )


def _scale(axis: Axes, values: Sequence[float], *, exact: bool = False) -> None:
    """Set a log scale where all values are above 0 and differ, with ticks at 1, 2 and 5, or at the `exact` values."""
    if min(values) <= 0 or min(values) == max(values):
        return
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(sorted(set(values))) if exact else LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
