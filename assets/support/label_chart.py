"""The chart of labels by day, for the Dagster UI."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date

import numpy as np

from label_policy import CLASSES, Label, Tier


def draw_labels(rows: Sequence[tuple[date, str, str | None, int]]) -> bytes:
    """Rows by day as bars: desirable above the axis, undesirable below, shaded by tier (PNG).

    Args:
        rows: (day, label, tier, count).

    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import dates as mdates
    from matplotlib import pyplot as plt

    shades = dict(zip(Tier, np.linspace(1, 0.35, len(Tier)).tolist(), strict=True))
    colours = {Label.DESIRABLE: (0.13, 0.45, 0.70), Label.UNDESIRABLE: (0.80, 0.33, 0.16)}
    days = sorted({row[0] for row in rows})
    counts = {(day, label, tier): count for day, label, tier, count in rows}
    positions = mdates.date2num(days)
    figure, axes = plt.subplots(figsize=(7.5, 3.4), dpi=100, layout="constrained")
    for label, sign in zip(CLASSES, (1, -1), strict=True):
        base = [0] * len(days)
        for tier, alpha in shades.items():
            heights = [sign * counts.get((day, label, tier), 0) for day in days]
            if any(heights):
                axes.bar(positions, heights, bottom=base, color=(*colours[label], alpha), label=f"{label}, {tier}")
                base = [low + high for low, high in zip(base, heights, strict=True)]
    axes.axhline(0, color="black", linewidth=0.8)
    axes.xaxis_date()
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
    # A week at least, so that a day is a bar and not the whole width.
    padding = max(0.6, (7 - (positions[-1] - positions[0])) / 2)
    axes.set_xlim(positions[0] - padding, positions[-1] + padding)
    axes.set_ylabel("drafts shown that day")
    axes.set_title("Labels by day and tier")
    axes.tick_params(axis="x", rotation=30)
    figure.legend(loc="outside lower center", fontsize=8, ncols=4, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    plt.close(figure)
    return out.getvalue()
