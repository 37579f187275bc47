"""Draw the audit as a figure: the share of labels that is right, by class, tier and rule, and the policy's bounds."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from feedback.audits.label_quality import Quality
from label_policy import Label, Policy
from label_policy.audits.precision import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {Label.DESIRABLE: "#1b7f5c", Label.UNDESIRABLE: "#c2452d", "all": "#3b4a6b"}
_BOUND = "#b46b00"


def draw_quality(quality: Quality, policy: Policy) -> bytes:
    """Return precision with its interval, a line per class, tier and rule, with marks at the policy's bounds (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bounds: dict[str, float | None] = {str(tier): bound for tier, bound in policy.audit.precision.items()}
    rule_tier = {rule: name.split(", ")[1] for rule, name in quality.tier_of.items()}
    parts: list[tuple[str, Mapping[str, Estimate], Mapping[str, float | None]]] = [
        ("class", quality.groups["label"], {}),
        ("tier", quality.groups["tier"], bounds),
        ("rule", quality.groups["rule"], {rule: bounds.get(tier) for rule, tier in rule_tier.items()}),
    ]
    rows = [len(estimates) for _, estimates, _ in parts]
    figure = Figure(figsize=(8, 2.0 + 0.28 * sum(rows)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[max(count, 1) for count in rows])
    for axis, (title, estimates, required) in zip(axes, parts, strict=True):
        colours = {
            name: _COLOURS.get(name) or _COLOURS[quality.tier_of[name].split(", ")[0] if title == "rule" else "all"]
            for name in estimates
        }
        _forest(axis, estimates, required, colours)
        axis.set_title(f"by {title}", loc="left", fontsize=9, color="0.4")
    lows = [each.low for _, estimates, _ in parts for each in estimates.values() if each.low is not None]
    axes[-1].set_xlim(min([*lows, 0.9, *(bound for bound in bounds.values() if bound is not None)]) - 0.03, 1.08)
    axes[-1].xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    rows_read = "rows read + simulated" if quality.simulated else "rows read"
    axes[-1].set_xlabel(f"labels that are right, with {quality.confidence:.0%} intervals; {rows_read} on the right")
    simulated = "  (with simulated verdicts)" if quality.simulated else ""
    figure.suptitle(f"Audit of the labels of {policy.name} {policy.version}{simulated}", fontsize=11)
    if bounds:
        axes[0].plot(
            [], [], "|", color=_BOUND, markersize=12, markeredgewidth=2, label="the policy's least lower bound"
        )
        figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _forest(
    axis: Axes, estimates: Mapping[str, Estimate], bounds: Mapping[str, float | None], colours: Mapping[str, str]
) -> None:
    for place, (name, each) in enumerate(estimates.items()):
        if each.precision is not None and each.low is not None and each.high is not None:
            axis.plot([each.low, each.high], [place, place], color=colours[name], linewidth=2, solid_capstyle="round")
            axis.plot([each.precision], [place], "o", color=colours[name], markersize=5)
        if (bound := bounds.get(name)) is not None:
            axis.plot([bound], [place], "|", color=_BOUND, markersize=12, markeredgewidth=2)
        axis.annotate(
            f"{each.read:,}" + (f" + {each.simulated:,}" if each.simulated else ""), (1, place),
            xycoords=("axes fraction", "data"), xytext=(-4, 0),
            textcoords="offset points", ha="right", va="center", fontsize=8, color="0.4",
        )  # fmt: skip
    axis.axvline(1, color="0.85", linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(estimates)), [*estimates], fontsize=8.5)
    axis.set_ylim(len(estimates) - 0.4, -0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
