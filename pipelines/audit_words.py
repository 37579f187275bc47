"""What the audit's report says in words: on the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Iterator

from feedback.label_quality import Quality
from label_policy.agreement import LEAST_ALPHA
from label_policy.audit_gate import Gate

GROUPS = {"label": "By class", "tier": "By tier", "rule": "By rule", "category": "By category"}
"""The groups that are shown, and what they are called."""


def percent(value: float | None) -> str:
    """A share, or a dash where it is not known."""
    return "–" if value is None else f"{value:.1%}"


SIMULATED = (
    "Simulated: nobody gave some of these verdicts. They show how an audit works and say nothing of real labels."
)


def headline(quality: Quality) -> str:
    """How much was read, in a sentence."""
    named = f"{quality.policy['name']} {quality.policy['version']}"
    if not quality.sampled:
        return f"Nothing is drawn of the labels of {named} yet; `feedback-kto audit draw` draws a sample of them."
    labels = sum(found.labels for found in quality.groups["label"].values())
    return (
        f"Of {labels:,.0f} final labels of {named}, {quality.sampled:,} are drawn to be read and {quality.read:,} are."
    )


def gate_words(gate: Gate) -> tuple[str, list[str]]:
    """What the gate is, and what there is to say about it."""
    if not gate.asked:
        return "asks for nothing: the policy's audit names no precision", []
    more = [*gate.reasons, *gate.notes]
    if gate.override is not None:
        opened = f"{gate.override.who} opened it until {gate.override.expires_at:%Y-%m-%d %H:%M} UTC"
        more += [f"{opened}: {gate.override.why}", *(f"in spite of this: {text}" for text in gate.overridden)]
    if gate.simulated:
        more.append("simulated verdicts went into it, as the desk's settings allow")
    return "open" if gate.passed else "closed", more


def agreement_words(quality: Quality) -> str:
    """How far reviewers agree, in a sentence."""
    found = quality.agreement
    if not found.rows:
        return "No row was decided by two people, so nothing is known of how far they agree."
    said = f"{found.rows:,} rows were decided by several people, who all say the same of {percent(found.same)}"
    if found.alpha is None:
        return f"{said}; all say the same of all of them, so that Krippendorff's alpha is not defined."
    return (
        f"{said}; Krippendorff's alpha is {found.alpha:.2f} (1 is perfect, 0 is chance, {LEAST_ALPHA:.2f} the least)."
    )


def suspected_words(quality: Quality) -> str | None:
    """What became of the rows that a model's scores made suspect; None where none was read."""
    found = quality.suspected
    if not found["read"]:
        return None
    return (
        f"{found['read']:,} rows were read because a model's scores spoke against their labels; people contradict "
        f"{found['wrong']:,} of these ({found['wrong'] / found['read']:.0%})."
    )


def drift_lines(quality: Quality) -> Iterator[tuple[str, ...]]:
    """Rule, precision before, in the last audit, and the change with its interval; the greatest fall first."""
    for each in sorted(quality.drift, key=lambda drift: drift.change):
        yield (
            each.rule,
            f"{percent(each.before.precision)} of {each.before.read:,}",
            f"{percent(each.after.precision)} of {each.after.read:,}",
            f"{each.change:+.1%} ({each.low:+.1%} to {each.high:+.1%})",
        )
