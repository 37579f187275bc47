"""Render the audit report as one HTML file without network or script, light and dark, for phones too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feedback.audits.label_quality import Quality
from feedback.audits.verdicts import ANSWERS, REASONS
from label_policy import CLASSES, Policy
from label_policy.audits.audit_gate import AuditGate
from label_policy.audits.precision import Estimate
from pipelines.output.command_output import commands
from pipelines.output.safe_text import visible
from pipelines.views.audit_words import (
    GROUPS,
    SIMULATED,
    agreement_words,
    count_columns,
    drift_lines,
    gate_words,
    headline,
    percent,
    suspected_words,
)

_TEMPLATE = "audit_page.html.j2"


def render_report(
    quality: Quality, gate: AuditGate, policy: Policy, *, desk: str, overrides: Sequence[str] = ()
) -> str:  # fmt: skip
    """Return the page.

    Args:
        quality: the measured quality of the labels.
        gate: the audit's gate.
        policy: the policy of the labels; its rules say why.
        desk: the desk's name.
        overrides: the lines of `pipelines.views.audit_words.override_lines`.

    """
    # The template escapes all texts of logs and reviewers, and spells out their hidden characters.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"n": "{:,.0f}".format, "text": _text, "percent": percent}
    state, more = gate_words(gate)
    bounds = {str(tier): bound for tier, bound in policy.audit.precision.items()}
    lows = [each.low for group in GROUPS for each in quality.groups[group].values() if each.low is not None]
    least = max(0.0, min([*lows, 0.9, *bounds.values()]) - 0.02)
    return environment.get_template(_TEMPLATE).render(
        quality=quality,
        gate=gate,
        state=state,
        simulated=SIMULATED if quality.simulated else None,
        more=[commands(text) for text in more],
        desk=desk,
        overrides=overrides,
        headline=commands(headline(quality)),
        count_columns=count_columns(quality.groups["label"].values()),
        groups=[
            (
                GROUPS[group],
                group,
                [
                    (name, estimate, _bar(estimate, least), gate.tiers.get(name) if group == "tier" else None)
                    for name, estimate in quality.groups[group].items()
                ],
            )
            for group in GROUPS
        ],
        mark=lambda bound: round(100 * (bound - least) / (1 - least), 2),
        least=least,
        agreement=agreement_words(quality),
        suspected=suspected_words(quality),
        drift=[*drift_lines(quality)],
        classes=CLASSES,
        verdict_kinds=ANSWERS,
        cells={(cell["label"], cell["people"]): cell for cell in quality.confusion},
        reasons=REASONS,
        why={rule.id: rule.why for rule in policy.rules},
    )


def _bar(estimate: Estimate, least: float) -> dict[str, float] | None:
    """Return where an interval and its middle lie between `least` and 1, in percent."""
    if estimate.precision is None or estimate.low is None or estimate.high is None:
        return None
    values = (estimate.low, estimate.high, estimate.precision)
    low, high, middle = (100 * (value - least) / (1 - least) for value in values)
    return {"left": round(low, 2), "width": round(max(high - low, 0.5), 2), "middle": round(middle, 2)}


def _text(value: str | None) -> str:
    return visible(value or "", lines=True)
