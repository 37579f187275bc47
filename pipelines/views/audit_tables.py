"""Print the audit report: precision, the gate, confusion, agreement, drift and the most instructive disagreements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from feedback.audits.label_quality import Quality
from feedback.audits.verdicts import ANSWERS, REASONS, VerdictKind
from label_policy import CLASSES
from label_policy.audits.audit_gate import AuditGate, Outcome
from pipelines.output.command_output import commands
from pipelines.output.safe_text import print_trimmed, shorten, visible
from pipelines.output.styles import LABEL_STYLES
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

_STYLES = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.UNDECIDED: "yellow",
    Outcome.OVERRIDDEN: "magenta",
}
_HEADS = {"simulated": "simu-\nlated"}
"""Heads of two lines, so that a table fits 80 columns."""
_TEXT = 160


def show_headline(quality: Quality, gate: AuditGate, console: Console) -> None:
    """Print how many rows are read, and the gate."""
    _say(headline(quality), console, "bold")
    if quality.simulated:
        _say(SIMULATED, console, "yellow")
    state, more = gate_words(gate)
    _say(f"The gate {'is ' if gate.asked else ''}{state}.", console, "" if gate.passed else "bold red")
    for text in more:
        _say(f"  {text}.", console)


def show_report(quality: Quality, gate: AuditGate, console: Console) -> None:
    """Print the whole report."""
    show_headline(quality, gate, console)
    if not quality.sampled:
        return
    for group, title in GROUPS.items():
        console.print(_precision(title, group, quality))
        if group == "tier" and gate.tiers:
            console.print(_gate(gate))
    console.print(_confusion(quality))
    _say(agreement_words(quality), console)
    if sentence := suspected_words(quality):
        _say(sentence, console)
    if quality.drift:
        table = _table(f"Compared with earlier audits: verdicts since {quality.last_audit:%Y-%m-%d}, and those before")
        for name in ("rule", "before", "now", "change"):
            table.add_column(name, justify="left" if name == "rule" else "right")
        for line in drift_lines(quality):
            table.add_row(*map(visible, line))
        console.print(table)
    if quality.disagreements:
        _show_disagreements(quality, console)


def _say(text: str, console: Console, style: str = "") -> None:
    console.print(Text(commands(text), style=style), soft_wrap=True)


def _precision(title: str, group: str, quality: Quality) -> Table:
    table = _table(f"{title}, with {quality.confidence:.0%} intervals")
    table.add_column(group, overflow="fold")
    groups = quality.groups[group]
    columns = count_columns(groups.values())
    heads = (_HEADS.get(name, name) for name in columns)
    for name in ("labels", "drawn", *heads, "can't\ntell", "right", "at\nleast", "at\nmost"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, estimate in groups.items():
        counts = (estimate.labels, estimate.sampled, *(getattr(estimate, each) for each in columns), estimate.unsure)
        shares = map(percent, (estimate.precision, estimate.low, estimate.high))
        table.add_row(visible(name), *(f"{count:,.0f}" for count in counts), *shares)
    return table


def _gate(gate: AuditGate) -> Table:
    table = _table("The gate: share that must be right")
    table.add_column("tier")
    for name in ("at least", "required"):
        table.add_column(name, justify="right")
    table.add_column("gate")
    for tier, outcome in gate.tiers.items():
        word = Text(outcome.outcome, style=_STYLES[outcome.outcome])
        table.add_row(tier, percent(outcome.low), percent(outcome.required), word)
    return table


def _confusion(quality: Quality) -> Table:
    table = _table("People's verdicts on the policy's labels, and how many labels they stand for")
    table.add_column("the policy says")
    for name in ANSWERS:
        table.add_column(f"people: {name}" if name != VerdictKind.UNSURE else "can't tell", justify="right")
    for label in CLASSES:
        cells = {cell["people"]: cell for cell in quality.confusion if cell["label"] == label}
        table.add_row(label, *(f"{cells[each]['verdicts']:,} ({cells[each]['labels']:,.0f})" for each in ANSWERS))
    return table


def _show_disagreements(quality: Quality, console: Console) -> None:
    """Print a few lines per row, since a table's columns would be too narrow for notes and drafts."""
    title = "The most instructive disagreements, ranked by labels, readers and notes, and spread over the rules"
    console.print(Text(title, style="bold"))
    for row in quality.disagreements:
        head = Text(visible(row["draft_id"]), style="cyan")
        head.append(f"  {row['label']} by '{row['rule']}', for {row['stands_for']:,.0f} labels", style="default")
        lines = [head, *map(_opinion, row["verdicts"]), Text(visible(shorten(row["completion"] or "", _TEXT)), "dim")]
        for indent, text in zip((2, *[4] * len(lines)), lines, strict=False):
            text.overflow = "fold"
            print_trimmed(Padding(text, (0, 0, 0, indent)), console)


def _opinion(verdict: Mapping[str, Any]) -> Text:
    """Return one reader's name, verdict and reasons."""
    whys = [REASONS.get(verdict["reason"] or "", "").rstrip("."), verdict["note"] or ""]
    opinion = Text(f"{visible(verdict['reviewer'])}: ")
    opinion.append(verdict["verdict"], style=LABEL_STYLES.get(verdict["verdict"], ""))
    return opinion.append("".join(f", {visible(why)}" for why in whys if why))


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
