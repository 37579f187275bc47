"""Print the verdicts on a row and the gate's outcome for its tier, for `feedback-kto policy explain`."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedback.audits.verdicts import REASONS, Origin, VerdictKind
from feedback.history.explain import Explanation
from feedback.history.row_verdicts import RowVerdict
from label_policy.audits.audit_gate import AuditGate, Outcome, TierOutcome
from pipelines.output.command_output import commands
from pipelines.output.safe_text import print_trimmed, visible
from pipelines.output.styles import VERDICT_STYLES
from pipelines.views.audit_words import percent

_WHY_NOT = {
    "text changed": "no longer counts: the text has changed since it was read",
    "label changed": "does not count for the current label: the sample was drawn for an earlier one; "
    "`feedback-kto audit draw` draws it anew",
    "not sampled": "is in no estimate: the row is not in the newest sample",
    "read by a person": "no longer counts: a person has read the row",
    "simulated": "does not count: this desk's settings do not allow simulated verdicts",
}


def show_verdicts(explanation: Explanation, console: Console) -> None:
    """Print the verdicts on the row, a line per reviewer, and why some do not count."""
    console.print()
    print_trimmed(Text("Verdicts of its readers", style="bold"), console)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(max_width=24, overflow="fold")
    table.add_column(overflow="fold")
    for verdict in explanation.readings:
        table.add_row("", Text(visible(verdict.reviewer), style="cyan"), _verdict_text(verdict))
        for remark in _remarks(verdict, explanation):
            table.add_row("", "", Text(commands(remark), style="yellow"))
    print_trimmed(table, console)


def _verdict_text(verdict: RowVerdict) -> Text:
    line = Text(
        "can't tell" if verdict.verdict == VerdictKind.UNSURE else verdict.verdict,
        style=VERDICT_STYLES[verdict.verdict],
    )
    why = REASONS.get(verdict.reason or "", "").rstrip(".")
    line.append(f", {why}" if why else "", style="default")
    line.append(f", “{visible(verdict.note)}”" if verdict.note else "", style="default")
    nobody = ", simulated: nobody read it" if verdict.origin == Origin.SIMULATED else ""
    return line.append(f"; {verdict.recorded_at:%Y-%m-%d %H:%M}{nobody}", style="dim")


def _remarks(verdict: RowVerdict, explanation: Explanation) -> Iterator[str]:
    if verdict.why_not is not None:
        yield _WHY_NOT[verdict.why_not]
    now = explanation.stored
    if now is not None and verdict.label != now.label:
        yield f"the label was {verdict.label} then, by '{verdict.rule}'"


def gate_lines(gate: AuditGate, tier: str) -> Iterator[str]:
    """Yield the gate's outcome for a tier now, and the gate's reasons where it is closed."""
    outcome = gate.tiers.get(tier)
    if outcome is not None:
        yield _tier_words(gate, tier, outcome)
    elif gate.passed:
        yield f"open; the policy requires no precision of tier {tier}"
    if not gate.passed:
        yield from (f"closed: {reason}" for reason in gate.reasons)


def _tier_words(gate: AuditGate, tier: str, tier_outcome: TierOutcome) -> str:
    """Return a tier's own outcome in a sentence."""
    low, outcome = tier_outcome.low, tier_outcome.outcome
    precision = "no reader could decide on any of its labels" if low is None else f"at least {percent(low)} are right"
    verb = "is " if outcome in (Outcome.UNDECIDED, Outcome.OVERRIDDEN) else ""
    text = f"tier {tier} {verb}{outcome}: {precision}, and the policy requires {percent(tier_outcome.required)}"
    if outcome == Outcome.OVERRIDDEN and gate.override is not None:
        until = f"{gate.override.expires_at:%Y-%m-%d %H:%M}"
        text += f"; {visible(gate.override.who)} opened it until {until} UTC: {visible(gate.override.why)}"
    return f"{text}; simulated verdicts count here" if gate.simulated else text
