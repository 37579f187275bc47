"""What `feedback-kto policy explain` says of a row's audit: who said what of it, and what the gate makes of it now."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedback.audits.verdicts import REASONS, Origin, VerdictKind
from feedback.history.explain import Explanation
from feedback.history.row_verdicts import Reading
from label_policy.audits.audit_gate import AuditGate, Outcome, TierOutcome
from pipelines.output.command_output import commands
from pipelines.output.safe_text import print_trimmed, visible
from pipelines.output.styles import VERDICT_STYLES
from pipelines.views.audit_words import percent

_WHY_NOT = {
    "text changed": "no longer counts: the text is another than the one that was read",
    "label changed": "does not count for the label as it is now: the sample was drawn when it was another; "
    "`feedback-kto audit draw` draws it anew",
    "not sampled": "is in no estimate: the row is not in the sample as it was last drawn",
    "read by a person": "no longer counts: a person has read the row",
    "simulated": "does not count: this desk's settings let no simulated verdict count",
}


def show_readings(explanation: Explanation, console: Console) -> None:
    """Print who said what of the row, a reviewer a row, and what of it does not count."""
    console.print()
    print_trimmed(Text("What its readers say", style="bold"), console)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(max_width=24, overflow="fold")
    table.add_column(overflow="fold")
    for reading in explanation.readings:
        table.add_row("", Text(visible(reading.reviewer), style="cyan"), _said(reading))
        for remark in _remarks(reading, explanation):
            table.add_row("", "", Text(commands(remark), style="yellow"))
    print_trimmed(table, console)


def _said(reading: Reading) -> Text:
    line = Text(
        "can't tell" if reading.verdict == VerdictKind.UNSURE else reading.verdict,
        style=VERDICT_STYLES[reading.verdict],
    )
    why = REASONS.get(reading.reason or "", "").rstrip(".")
    line.append(f", {why}" if why else "", style="default")
    line.append(f", “{visible(reading.note)}”" if reading.note else "", style="default")
    nobody = ", simulated: nobody read it" if reading.origin == Origin.SIMULATED else ""
    return line.append(f"; {reading.recorded_at:%Y-%m-%d %H:%M}{nobody}", style="dim")


def _remarks(reading: Reading, explanation: Explanation) -> Iterator[str]:
    if reading.why_not is not None:
        yield _WHY_NOT[reading.why_not]
    now = explanation.stored
    if now is not None and reading.label != now.label:
        yield f"the label was {reading.label} then, by '{reading.rule}'"


def gate_lines(gate: AuditGate, tier: str) -> Iterator[str]:
    """What the gate makes of a tier now, and why nothing trains where that is so."""
    found = gate.tiers.get(tier)
    if found is not None:
        yield _outcome(gate, tier, found)
    elif gate.passed:
        yield f"open; the policy asks nothing of tier {tier}"
    if not gate.passed:
        yield from (f"closed: {reason}" for reason in gate.reasons)


def _outcome(gate: AuditGate, tier: str, found: TierOutcome) -> str:
    """A tier's own outcome, in a sentence."""
    what = "nobody could tell of any of its labels" if found.low is None else f"at least {percent(found.low)} are right"
    is_ = "is " if found.outcome in (Outcome.UNDECIDED, Outcome.OVERRIDDEN) else ""
    said = f"tier {tier} {is_}{found.outcome}: {what}, and "
    said += f"{percent(found.required)} is asked for"
    if found.outcome == Outcome.OVERRIDDEN and gate.override is not None:
        until = f"{gate.override.expires_at:%Y-%m-%d %H:%M}"
        said += f"; {visible(gate.override.who)} opened it until {until} UTC: {visible(gate.override.why)}"
    return f"{said}; simulated verdicts went into this" if gate.simulated else said
