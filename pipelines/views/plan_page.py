"""Render a plan as one HTML file without network or script, light and dark, for phones too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feedback.policy_changes.backfill_plan import Plan
from label_policy import CLASSES, Label
from label_policy.checks.label_diff import KINDS
from pipelines.output.command_output import commands
from pipelines.output.safe_text import factual_by, span, stretches, visible
from pipelines.views.plan_tables import LABELS, TIERS, matrix
from pipelines.views.plan_words import (
    bounds,
    count,
    flow_words,
    gate_sentences,
    headline,
    kind_words,
    old_side,
    side_words,
    warnings,
)

_TEMPLATE = "plan_page.html.j2"
_TRAINS = (*CLASSES, "does not train")


def render_plan(plan: Plan, *, desk: str, apply: str | None) -> str:
    """Return the page.

    Args:
        plan: the plan.
        desk: the desk's name.
        apply: the command that applies the plan; None where there is nothing to apply.

    """
    # The template escapes all texts of the logs, and spells out their hidden characters.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"n": "{:,}".format, "text": _text, "signal": _signal}
    figures = plan.figures
    moves = [
        {**move, **{side: move[side] or _TRAINS[-1] for side in ("before", "after")}} for move in figures["training"]
    ]
    return environment.get_template(_TEMPLATE).render(
        plan=plan,
        figures=figures,
        desk=desk,
        apply=apply,
        warnings=[*map(commands, warnings(plan))],
        sentences=headline(plan),
        gates=[(commands(sentence), [*map(commands, details)]) for sentence, details in gate_sentences(plan)],
        side_words=side_words,
        old=old_side(plan.before, stored=plan.stored),
        bounds=bounds,
        count=count,
        factual_by=factual_by,
        flow_words=flow_words,
        kind_words=kind_words,
        matrices=[
            ("Labels", "label", _heat(figures["labels"], LABELS)),
            ("Tiers", "tier", _heat(figures["tiers"], TIERS)),
            ("Training", "training", _heat(moves, _TRAINS)),
        ],
        most_trains=max(sum(side[name] for name in CLASSES) for side in figures["balance"].values()),
        labels=[*Label],
        classes=CLASSES,
        flows=sorted(
            (flow for flow in figures["flows"] if flow["kind"] != "maturity"),
            key=lambda flow: (KINDS.index(flow["kind"]), -flow["rows"]),
        ),
        bars=_bars(figures["days"]),
        examples=[{**row, "parts": _parts(row)} for row in plan.examples],
    )


def _heat(flips: Sequence[Mapping[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """Return a matrix with a heat of 0 to 1 per cell, by the root of its rows; cells without a change have 0."""
    befores, afters, cells = matrix(flips, order)
    most = max((rows for (before, after), rows in cells.items() if before != after), default=0)
    rows = [
        (
            before,
            [
                {
                    "rows": cells.get((before, after), 0),
                    "same": before == after,
                    "heat": round(math.sqrt(cells.get((before, after), 0) / most), 3)
                    if most and before != after
                    else 0,
                }
                for after in afters
            ],
        )
        for before in befores
    ]
    return {"afters": afters, "rows": rows}


def _bars(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a bar per day that changes, with its height in percent of the highest."""
    most = max((day["changed"] for day in days), default=0)
    bars = [
        {"x": 10 * place + 1, "height": max(2, round(100 * day["changed"] / most)), **day}
        for place, day in enumerate(days)
        if day["changed"]
    ]
    return {"bars": bars, "width": 10 * len(days), "most": most}


def _parts(row: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Return the sent text as kept, removed and added stretches of the draft; None where no other text was sent."""
    draft, sent = row["completion"], row["final_text"]
    if draft is None or sent is None or draft == sent:
        return None
    old, new = (re.findall(r"\S+\s*", text) for text in (draft, sent))
    return [(kind, "".join(words)) for kind, words in stretches(old, new)]


def _text(value: str | None) -> str:
    return visible(value or "", lines=True)


def _signal(value: object, shown_at: datetime | None) -> str:
    """Return a signal's value for a reader; a time as its distance from the showing."""
    if isinstance(value, datetime):
        if shown_at is None:
            return f"{value:%Y-%m-%d %H:%M}"
        return f"{span(value - shown_at)} {'later' if value >= shown_at else 'earlier'}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return visible(", ".join(value) if isinstance(value, list) else str(value))
