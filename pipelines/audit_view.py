"""What `feedback-kto audit report` prints: precision, the gate, agreement, confusion, drift, and what teaches most."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedback.label_quality import Quality
from feedback.verdicts import REASONS
from label_policy.audit_gate import Gate
from pipelines.audit_words import (
    GROUPS,
    SIMULATED,
    agreement_words,
    drift_lines,
    gate_words,
    headline,
    percent,
    suspected_words,
)
from pipelines.printing import commands
from pipelines.texts import shorten, visible

_STYLES = {"passed": "green", "failed": "bold red", "undecided": "yellow", "overridden": "magenta"}
_TEXT = 160


def show_report(quality: Quality, gate: Gate, console: Console) -> None:
    """Print it."""

    def say(text: str, style: str = "") -> None:
        console.print(Text(commands(text), style=style), soft_wrap=True)

    say(headline(quality), "bold")
    if quality.simulated:
        say(SIMULATED, "yellow")
    state, more = gate_words(gate)
    say(f"The gate {'is ' if gate.asked else ''}{state}.", "" if gate.passed else "bold red")
    for text in more:
        say(f"  {text}.")
    if not quality.sampled:
        return
    for group, title in GROUPS.items():
        console.print(_precision(title, group, quality, gate))
    console.print(_confusion(quality))
    say(agreement_words(quality))
    if said := suspected_words(quality):
        say(said)
    if quality.drift:
        table = _table(f"Against earlier audits: verdicts since {quality.last_audit:%Y-%m-%d}, and those before")
        for name in ("rule", "before", "now", "change"):
            table.add_column(name, justify="left" if name == "rule" else "right")
        for line in drift_lines(quality):
            table.add_row(*map(visible, line))
        console.print(table)
    if quality.disagreements:
        console.print(_disagreements(quality))


def _precision(title: str, group: str, quality: Quality, gate: Gate) -> Table:
    table = _table(f"{title}, with {quality.confidence:.0%} intervals")
    table.add_column(group)
    for name in ("labels", "read", "can't tell", "right", "at least", "at most"):
        table.add_column(name, justify="right")
    asked = group == "tier" and bool(gate.tiers)
    if asked:
        table.add_column("asked for", justify="right")
        table.add_column("gate")
    for name, found in quality.groups[group].items():
        shares = map(percent, (found.precision, found.low, found.high))
        cells: list[str | Text] = [
            visible(name), f"{found.labels:,.0f}", f"{found.read:,} of {found.sampled:,}", f"{found.unsure:,}", *shares,
        ]  # fmt: skip
        if asked:
            outcome = gate.tiers.get(name)
            cells += (
                [percent(outcome.required), Text(outcome.outcome, style=_STYLES[outcome.outcome])] if outcome else []
            )
        table.add_row(*cells)
    return table


def _confusion(quality: Quality) -> Table:
    table = _table("What people say of the policy's labels: verdicts, and labels that they stand for")
    people = ("desirable", "undesirable", "unsure")
    table.add_column("the policy says")
    for name in people:
        table.add_column(f"people: {name}" if name != "unsure" else "can't tell", justify="right")
    for label in ("desirable", "undesirable"):
        cells = {cell["people"]: cell for cell in quality.confusion if cell["label"] == label}
        table.add_row(label, *(f"{cells[each]['verdicts']:,} ({cells[each]['labels']:,.0f})" for each in people))
    return table


def _disagreements(quality: Quality) -> Table:
    table = _table(
        "The most instructive disagreements: by the labels a row stands for, readers, notes, spread over rules"
    )
    for name in ("draft", "the policy says", "for", "what people say, and the draft"):
        table.add_column(name, justify="right" if name == "for" else "left")
    for row in quality.disagreements:
        said = "; ".join(
            f"{each['reviewer']}: {each['verdict']}" + "".join(
                f", {why}" for why in (REASONS.get(each["reason"] or ""), each["note"]) if why
            )
            for each in row["verdicts"]
        )  # fmt: skip
        table.add_row(
            Text(visible(row["draft_id"])),
            Text(f"{row['label']}, {row['rule']}"),
            f"{row['stands_for']:,.0f}",
            Text.assemble(
                visible(said), "\n", (visible(shorten(row["completion"] or "", _TEXT)), "dim")
            ),
        )  # fmt: skip
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
