"""Print the audit sample and how much of it is read, for `feedback-kto audit draw` and `audit status`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedback.audits.sample import Progress
from label_policy.audits.audit_gate import AuditGate, Override
from pipelines.output.command_output import commands
from pipelines.output.safe_text import print_prose, visible
from pipelines.output.styles import LABEL_STYLES
from pipelines.views.audit_words import gate_words, override_lines


def show_draw(progress: Progress, columns: Sequence[str], console: Console) -> None:
    """Print a line per stratum: its labels, the rows to read, and the rows that are read.

    Args:
        progress: counts by `columns`.
        columns: ``label``, ``suspected``, and the other columns that divide the strata.
        console: where to print.

    """
    # Only columns that hold a count, so that the table fits 80 columns.
    counts = [name for name in ("read", "simulated") if any(getattr(part, name) for part in progress.parts)] or ["read"]
    table = _table(columns[2:], ["labels", "to read", *counts])
    for (label, suspected), parts in groupby(progress.parts, key=lambda part: part.values[:2]):
        title = f"{visible(str(label))}{', suspected' if suspected else ''}"
        table.add_row(Text(title, style=f"bold {LABEL_STYLES.get(str(label), '')}"))
        above: Sequence[object] = ()
        for part in parts:
            values = part.values[2:]
            figures = _counts(part.size, part.rows, *(getattr(part, name) for name in counts))
            table.add_row(*_without_repeats(values, above), *figures)
            above = values
    _show(table, progress, console)


def _without_repeats(values: Sequence[object], above: Sequence[object]) -> list[str]:
    """Return the values as texts; the first ones that repeat the line above are empty."""
    same = next((number for number, pair in enumerate(zip(values, above, strict=False)) if pair[0] != pair[1]), 0)
    return ["" if number < same else visible(str(value or "none")) for number, value in enumerate(values)]


def show_status(progress: Progress, gate: AuditGate, override: Override | None, console: Console) -> None:
    """Print a line per class and tier: rows, rows that are read, and missing verdicts; then the gate.

    Args:
        progress: counts by label and tier.
        gate: the audit's gate.
        override: the override in force, if any.
        console: where to print.

    """
    table = _table(["label", "tier"], ["labels", "to read", "read", "simulated", "missing"])
    for part in progress.parts:
        label, tier = (visible(str(value or "none")) for value in part.values)
        counts = _counts(part.size, part.rows, part.read, part.simulated, part.missing)
        table.add_row(Text(label, style=LABEL_STYLES.get(label, "")), tier, *counts)
    _show(table, progress, console)
    state, more = gate_words(gate)
    print_prose(f"The gate {'is ' if gate.asked else ''}{state}.", console, style="" if gate.passed else "bold red")
    for text in more:
        print_prose(f"{commands(text)}.", console, indent=2)
    for text in override_lines(gate, override, ()):
        print_prose(text, console)


def _table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _counts(*counts: int) -> list[Text]:
    return [Text(f"{count:,}", style="" if count else "dim") for count in counts]


def _show(table: Table, progress: Progress, console: Console) -> None:
    """Print the table, its totals, and the time that the rest takes."""
    if not progress.parts:
        console.print(commands("No sample is drawn yet, or no label is final; `feedback-kto audit draw` draws it."))
        return
    console.print(table)
    rows, read, simulated = (sum(getattr(part, name) for part in progress.parts) for name in _SUMMED)
    totals = f"{read:,} of {rows:,} rows are read by people"
    if simulated:
        totals += f"; {simulated:,} have a simulated verdict, which nobody gave"
    console.print(f"{totals}.", highlight=False, soft_wrap=True)
    if progress.missing:
        left = progress.seconds_left
        time = f"about {_duration(left)} for one person" if left is not None else "the time is not known yet"
        count = "1 verdict is" if progress.missing == 1 else f"{progress.missing:,} verdicts are"
        console.print(f"{count} missing: {time}.", highlight=False)
    for reviewer, seconds in progress.seconds.items():
        console.print(f"  {visible(reviewer)} takes {seconds:.0f} s a row", style="dim", highlight=False, markup=False)


_SUMMED = ("rows", "read", "simulated")


def _duration(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
