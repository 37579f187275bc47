"""Sentences of the audit report, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from feedback.audits.label_quality import Quality
from feedback.audits.overrides import FormerOverride
from label_policy.audits.agreement import LEAST_ALPHA
from label_policy.audits.audit_gate import AuditGate, Override
from label_policy.audits.precision import Estimate
from pipelines.output.safe_text import visible

GROUPS = {"label": "By class", "tier": "By tier", "rule": "By rule", "category": "By category"}
"""The groups that the report shows, and their titles."""


def percent(value: float | None) -> str:
    """Return a share as text, or a dash where it is not known."""
    return "–" if value is None else f"{value:.1%}"


def read_words(read: int, simulated: int) -> str:
    """Return how many rows people have read, and how many have only simulated verdicts."""
    return f"people have read {read:,}" + (f", and {simulated:,} have simulated verdicts" if simulated else "")


def count_columns(groups: Iterable[Estimate]) -> list[str]:
    """Return the count columns that are not all 0, of `read` and `simulated`; `read` where both are."""
    estimates = list(groups)
    return [name for name in ("read", "simulated") if any(getattr(each, name) for each in estimates)] or ["read"]


SIMULATED = (
    "Simulated: nobody gave some of these verdicts. They show how an audit works and say nothing about real labels."
)


def headline(quality: Quality) -> str:
    """Return a sentence on how many labels are drawn and read."""
    named = f"{quality.policy['name']} {quality.policy['version']}"
    if not quality.sampled:
        return f"No label of {named} is drawn yet; `feedback-kto audit draw` draws a sample of them."
    labels = sum(each.labels for each in quality.groups["label"].values())
    return (
        f"Of {labels:,.0f} final labels of {named}, {quality.sampled:,} are drawn to be read; "
        f"{read_words(quality.read, quality.simulated_rows)}."
    )


def gate_words(gate: AuditGate) -> tuple[str, list[str]]:
    """Return the state of the gate, and its reasons, notes and override as clauses."""
    if not gate.asked:
        return "asks for nothing: the policy's audit names no precision", []
    more = [*gate.reasons, *gate.notes]
    if gate.override is not None:
        who, why = visible(gate.override.who), visible(gate.override.why)
        opened = f"{who} opened it until {gate.override.expires_at:%Y-%m-%d %H:%M} UTC"
        more += [f"{opened}: {why}", *(f"in spite of this: {text}" for text in gate.overridden)]
    if gate.simulated:
        more.append("simulated verdicts count here, as the desk's settings allow")
    return "open" if gate.passed else "closed", more


def override_words(override: Override) -> str:
    """Return who gave the override, why, for which tiers, and until when."""
    scope = f"tier {' and '.join(override.tiers)}" if override.tiers else "every tier"
    until = f"{override.expires_at:%Y-%m-%d %H:%M} UTC"
    return f"{visible(override.who)} ({visible(override.why)}), for {scope} until {until}"


def override_lines(gate: AuditGate, override: Override | None, former: Sequence[FormerOverride]) -> list[str]:
    """Return lines on the overrides that `gate_words` does not name: an unused one, and those that no longer hold.

    Args:
        gate: the audit's gate, with the override that opened it.
        override: the override in force, if any.
        former: overrides that no longer hold, the newest first.

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
_WHY_NOT = {"expired": "expired", "another policy": "it was given for {}", "replaced": "a newer one replaced it"}


def agreement_words(quality: Quality) -> str:
    """Return a sentence on how far reviewers agree."""
    agreement = quality.agreement
    if not agreement.rows:
        return "No row was decided by two readers, so their agreement is not known."
    who = "several readers, people or simulated" if quality.simulated else "several people"
    rows = f"{agreement.rows:,} rows were decided by {who}, who agree on {percent(agreement.same)}"
    alpha = agreement.alpha
    if alpha is None:
        return f"{rows}; all of these verdicts are the same, so Krippendorff's alpha is not defined."
    return f"{rows}; Krippendorff's alpha is {alpha:.2f} (1 is perfect, 0 is chance, {LEAST_ALPHA:.2f} the least)."


def suspected_words(quality: Quality) -> str | None:
    """Return a sentence on the rows that a model's scores made suspect; None where there are none."""
    counts = quality.suspected
    read = counts["read"] + counts["simulated"]
    if not read + counts["unread"]:
        return None
    sentence = f"A model's scores contradict the labels of {read + counts['unread']:,} of these rows"
    if read:
        sentence += (
            f"; {read_words(counts['read'], counts['simulated'])}; the verdicts contradict {counts['wrong']:,} of "
            f"these labels ({counts['wrong'] / read:.0%})"
        )
    if counts["unread"]:
        sentence += (
            f"; {counts['unread']:,} are unread, and count like the read rows of their stratum, or of their tier where "
            "no row of the stratum is read"
        )
    return f"{sentence}."


def drift_lines(quality: Quality) -> Iterator[tuple[str, ...]]:
    """Yield rule, precision before and in the last audit, and the change with its interval; the greatest fall first."""
    for each in sorted(quality.drift, key=lambda drift: drift.change):
        yield (
            each.rule,
            f"{percent(each.before.precision)} of {each.before.answered:,}",
            f"{percent(each.after.precision)} of {each.after.answered:,}",
            f"{each.change:+.1%} ({each.low:+.1%} to {each.high:+.1%})",
        )
