"""Draw a comparison: every contestant by every measure above, KTO minus each below, with intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kto_core.base.figures import FIGURES
from kto_core.training.curves import DESIRABLE, NEUTRAL, UNDESIRABLE

PANELS = {name: figure.panel for name, figure in FIGURES.items() if figure.panel is not None}


def draw_comparison(result: Mapping[str, Any], path: Path) -> None:
    """Draw the result of `kto_core.compare`; a measure without a value leaves its panel empty."""
    contestants = list(result["contestants"])
    others = [arm for arm in contestants if arm != "kto"]
    figure = Figure(
        figsize=(3.1 * len(PANELS) + 1.2, 0.34 * (len(contestants) + len(others)) + 2.4), layout="constrained"
    )
    FigureCanvasAgg(figure)
    ratios = [len(contestants) + 1, len(others) + 1]
    axes = figure.subplots(2, len(PANELS), squeeze=False, height_ratios=ratios)
    for column, (name, title) in enumerate(PANELS.items()):
        above, below = axes[0, column], axes[1, column]
        values = {arm: result["contestants"][arm]["measures"][name] for arm in contestants}
        differences = {f"kto − {arm}": result["differences"]["kto"][arm][name] for arm in others}
        _dots(above, values, [NEUTRAL if arm in ("reference", "prior") else DESIRABLE for arm in values])
        _dots(below, differences, [_color(figure) for figure in differences.values()])
        below.axvline(0, color="0.7", linewidth=0.8, zorder=0)
        above.set_title(title, fontsize=10)
        if column:
            above.set_yticklabels([])
            below.set_yticklabels([])
    figure.suptitle("held-out tickets; bars are 95 % intervals over tickets", fontsize=9, color="0.35")
    figure.savefig(path, dpi=100)


def _dots(axis: Axes, figures: Mapping[str, Mapping[str, float] | None], colors: list[str]) -> None:
    """Draw one figure a line, from the top, with its interval."""
    for line, (estimate, color) in enumerate(zip(figures.values(), colors, strict=True)):
        if estimate is not None:
            axis.plot([estimate["low"], estimate["high"]], [line, line], color=color, linewidth=2, alpha=0.5)
            axis.plot(estimate["value"], line, "o", color=color, markersize=5)
    axis.set_yticks(range(len(figures)), list(figures), fontsize=9)
    axis.set_ylim(len(figures) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="0.92")
    axis.set_axisbelow(True)


def _color(difference: Mapping[str, float] | None) -> str:
    """Return green where KTO is better, red where it is worse, grey where the interval holds 0."""
    if difference is None or difference["low"] <= 0 <= difference["high"]:
        return "0.45"
    return DESIRABLE if difference["low"] > 0 else UNDESIRABLE
