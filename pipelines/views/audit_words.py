"""What the audit's report says in words: on the terminal and on the page alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from feedback.audits.label_quality import Quality
from feedback.audits.overrides import FormerOverride
from label_policy.audits.agreement import LEAST_ALPHA
from label_policy.audits.audit_gate import AuditGate, Override
from label_policy.audits.precision import Estimate
from pipelines.output.safe_text import visible

GROUPS = {"label": "By class", "tier": "By tier", "rule": "By rule", "category": "By category"}
"""The groups that are shown, and what they are called."""


def percent(value: float | None) -> str:
    """A share, or a dash where it is not known."""
    return "–" if value is None else f"{value:.1%}"


def by_whom(read: int, simulated: int) -> str:
    """How many rows people have read; and how many nobody has, that have a simulated verdict."""
    return f"{read:,} by people" + (f", {simulated:,} simulated" if simulated else "")


def counted(groups: Iterable[Estimate]) -> list[str]:
    """Which of rows that people read and simulated ones there are: a column for what there is none of tells nothing."""
    found = list(groups)
    return [name for name in ("read", "simulated") if any(getattr(each, name) for each in found)] or ["read"]


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
        f"Of {labels:,.0f} final labels of {named}, {quality.sampled:,} are drawn to be read; "
        f"read are {by_whom(quality.read, quality.simulated_rows)}."
    )


def gate_words(gate: AuditGate) -> tuple[str, list[str]]:
    """What the gate is, and what there is to say about it."""
    if not gate.asked:
        return "asks for nothing: the policy's audit names no precision", []
    more = [*gate.reasons, *gate.notes]
    if gate.override is not None:
        who, why = visible(gate.override.who), visible(gate.override.why)
        opened = f"{who} opened it until {gate.override.expires_at:%Y-%m-%d %H:%M} UTC"
        more += [f"{opened}: {why}", *(f"in spite of this: {text}" for text in gate.overridden)]
    if gate.simulated:
        more.append("simulated verdicts went into it, as the desk's settings allow")
    return "open" if gate.passed else "closed", more


def override_words(override: Override) -> str:
    """Whose it is, why, of what, and until when."""
    what = f"tier {' and '.join(override.tiers)}" if override.tiers else "every tier"
    until = f"{override.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{visible(override.who)} ({visible(override.why)}), for {what} until {until}"


def override_lines(gate: AuditGate, override: Override | None, former: Sequence[FormerOverride]) -> list[str]:
    """Of the overrides on record, what the gate's own words do not say; nothing where there is nothing to say.

    Args:
        gate: says of the override that opened it.
        override: the one that holds.
        former: those that do not, the newest first.

    """
    lines = []
    if override is not None and gate.override is None:
        lines.append(f"An override is in force and changes nothing: by {override_words(override)}.")
    if former:
        lines.append("Overrides that no longer hold:")
        lines += [f"  by {override_words(each.override)}: {_WHY_NOT[each.why_not].format(each.policy)}"
                  for each in former[:_MOST_FORMER]]  # fmt: skip
    if len(former) > _MOST_FORMER:
        lines.append(f"  and {len(former) - _MOST_FORMER:,} older; --json has them")
    return lines


_MOST_FORMER = 3
_WHY_NOT = {"expired": "expired", "another policy": "it is of {}", "replaced": "a newer one took its place"}


def agreement_words(quality: Quality) -> str:
    """How far reviewers agree, in a sentence."""
    found = quality.agreement
    if not found.rows:
        return "No row was decided by two readers, so nothing is known of how far they agree."
    who = "several readers, people or simulated" if quality.simulated else "several people"
    said = f"{found.rows:,} rows were decided by {who}, who all say the same of {percent(found.same)}"
    if found.alpha is None:
        return f"{said}; all say the same of all of them, so that Krippendorff's alpha is not defined."
    return (
        f"{said}; Krippendorff's alpha is {found.alpha:.2f} (1 is perfect, 0 is chance, {LEAST_ALPHA:.2f} the least)."
    )


def suspected_words(quality: Quality) -> str | None:
    """What became of the rows that a model's scores made suspect; None where there are none."""
    found = quality.suspected
    known = found["read"] + found["simulated"]
    if not known + found["unread"]:
        return None
    said = f"A model's scores speak against the labels of {known + found['unread']:,} of these rows"
    if known:
        said += (
            f"; read are {by_whom(found['read'], found['simulated'])}, and {found['wrong']:,} of these labels are "
            f"contradicted ({found['wrong'] / known:.0%})"
        )
    if found["unread"]:
        said += (
            f"; {found['unread']:,} are unread, and count as like those read of their stratum, or of their tier where "
            "none of it was read"
        )
    return f"{said}."


def drift_lines(quality: Quality) -> Iterator[tuple[str, ...]]:
    """Rule, precision before, in the last audit, and the change with its interval; the greatest fall first."""
    for each in sorted(quality.drift, key=lambda drift: drift.change):
        yield (
            each.rule,
            f"{percent(each.before.precision)} of {each.before.answered:,}",
            f"{percent(each.after.precision)} of {each.after.answered:,}",
            f"{each.change:+.1%} ({each.low:+.1%} to {each.high:+.1%})",
        )
