"""Print a policy's rules, their row counts on a desk and the findings, for `feedback-kto policy check`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from label_policy import NO_RULE, SENT_TEXT, Label, Policy
from label_policy.checks.policy_findings import Finding, Level
from label_policy.checks.rule_counts import Coverage
from pipelines.output.styles import LABEL_STYLES

_WIDEST_BAR = 24
_NARROWEST_BAR = 8
_WITHOUT_BAR = 78
"""Columns that the table takes beside its bars."""


def show_check(
    policy: Policy, desk: str | None, coverage: Coverage | None, findings: Iterable[Finding], console: Console
) -> None:
    """Print the rules with their row counts, then warnings, then notes."""
    console.print(f"[bold]{policy.name} {policy.version}[/], digest {policy.digest[:16]}: {len(policy.rules)} rules")
    if coverage is None or not coverage.interactions:
        reason = "no desk's data was read" if desk is None else f"desk {desk} holds no interactions yet"
        console.print(f"row counts of the rules are not known: {reason}", style="dim")
        coverage = None
    else:
        console.print(
            f"on {coverage.interactions:,} interactions of desk {desk}, shown {coverage.first_shown:%Y-%m-%d} to "
            f"{coverage.last_shown:%Y-%m-%d}; a rule decides where it holds and no rule above it does"
        )
    console.print(_rules_table(policy, coverage, console.width))
    for level, mark, style in ((Level.WARNING, "!", "yellow"), (Level.NOTE, "·", "dim")):
        of_level = [finding for finding in findings if finding.level is level]
        count = len(of_level) or "no"
        console.print(Text(f"{count} {level}{'s' if len(of_level) != 1 else ''}", style="bold"))
        for finding in of_level:
            _show_finding(finding, mark, style, console)


def _show_finding(finding: Finding, mark: str, style: str, console: Console) -> None:
    line = Table.grid(padding=(0, 1))
    line.add_row(Text(mark, style=style), Text(finding.message + ".", style="dim" if style == "dim" else ""))
    console.print(line)


def _rules_table(policy: Policy, coverage: Coverage | None, width: int) -> Table:
    bar = min(_WIDEST_BAR, width - _WITHOUT_BAR)
    bars = coverage is not None and bar >= _NARROWEST_BAR
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in (
        "rule",
        "label",
        "tier",
        "weight",
        *(("holds", "decides") if coverage else ()),
        *(("",) if bars else ()),
    ):
        table.add_column(name, justify="right" if name in ("weight", "holds", "decides") else "left", no_wrap=True)
    most = (
        max(1, coverage.undecided, coverage.sent_texts, *(rule.decides for rule in coverage.rules)) if coverage else 1
    )

    def add(rule: str, label: str, tier: str | None, weight: float, holds: int | None, decides: int) -> None:
        style = LABEL_STYLES[label]
        cells: list[str | Text] = [Text(rule), Text(label, style=style), tier or "", f"{weight:g}" if tier else ""]
        if coverage:
            cells += ["" if holds is None else f"{holds:,}", f"{decides:,}"]
        if bars:
            cells.append(Text(_bar(decides / most, bar), style=style))
        table.add_row(*cells)

    counts = {rule.rule: rule for rule in coverage.rules} if coverage else {}
    for rule in policy.rules:
        counted = counts.get(rule.id)
        add(
            rule.id,
            rule.label,
            rule.tier,
            rule.weight,
            counted.holds if counted else None,
            counted.decides if counted else 0,
        )
    if coverage:
        add(NO_RULE, Label.ABSTAIN, None, 0.0, None, coverage.undecided)
    if policy.sent_text is not None:
        sent = policy.sent_text
        table.add_section()
        add(SENT_TEXT, Label.DESIRABLE, sent.tier, sent.weight, None, coverage.sent_texts if coverage else 0)
    return table


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def check_json(
    policy: Policy, desk: str | None, coverage: Coverage | None, findings: Iterable[Finding]
) -> dict[str, Any]:
    """Return the policy, its counts and the findings as plain values; `coverage` is null where no data was read."""
    rules = {rule.id: {"label": rule.label, "tier": rule.tier, "weight": rule.weight} for rule in policy.rules}
    figures = asdict(coverage) if coverage is not None else None
    if figures is not None:
        figures["rules"] = [counts | rules[counts["rule"]] for counts in figures["rules"]]
    return {
        "policy": policy.name,
        "version": policy.version,
        "digest": policy.digest,
        "desk": desk,
        "coverage": figures,
        "findings": [asdict(finding) for finding in findings],
    }
