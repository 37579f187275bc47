"""What `feedback-kto audit draw` and `audit status` show: the sample, and how far its reading is."""

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
    """Print a line a stratum: how many labels it holds, how many are to be read, and how many have been.

    Args:
        progress: by `columns`.
        columns: ``label``, ``suspected``, and the others that part the strata.
        console: to print on.

    """
    # Those of the last two that there are, so that the table fits 80 columns.
    said = [name for name in ("read", "simulated") if any(getattr(part, name) for part in progress.parts)] or ["read"]
    table = _table(columns[2:], ["labels", "to read", *said])
    for (label, suspected), parts in groupby(progress.parts, key=lambda part: part.values[:2]):
        title = f"{visible(str(label))}{', suspected' if suspected else ''}"
        table.add_row(Text(title, style=f"bold {LABEL_STYLES.get(str(label), '')}"))
        above: Sequence[object] = ()
        for part in parts:
            values = part.values[2:]
            counts = _counts(part.size, part.rows, *(getattr(part, name) for name in said))
            table.add_row(*_unlike(values, above), *counts)
            above = values
    _show(table, progress, console)


def _unlike(values: Sequence[object], above: Sequence[object]) -> list[str]:
    """The values, left out as long as they repeat the line above."""
    same = next((number for number, pair in enumerate(zip(values, above, strict=False)) if pair[0] != pair[1]), 0)
    return ["" if number < same else visible(str(value or "none")) for number, value in enumerate(values)]


def show_status(progress: Progress, gate: AuditGate, override: Override | None, console: Console) -> None:
    """Print a line a class and tier: rows, those that have been read, and readings that are missing; then the gate.

    Args:
        progress: by label and tier.
        gate: what the audit makes of that.
        override: the one that holds.
        console: to print on.

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
    """Print the table with what it comes to, and a sentence or two."""
    if not progress.parts:
        console.print(commands("No sample is drawn yet, or no label is final; `feedback-kto audit draw` draws it."))
        return
    console.print(table)
    rows, read, simulated = (sum(getattr(part, name) for part in progress.parts) for name in _SUMMED)
    said = f"{read:,} of {rows:,} rows are read by people"
    if simulated:
        said += f"; {simulated:,} have a simulated verdict, which nobody gave"
    console.print(f"{said}.", highlight=False, soft_wrap=True)
    if progress.missing:
        left = progress.seconds_left
        time = f"about {_duration(left)} for one person" if left is not None else "how long is not known yet"
        which = "1 reading is" if progress.missing == 1 else f"{progress.missing:,} readings are"
        console.print(f"{which} missing: {time}.", highlight=False)
    for reviewer, seconds in progress.seconds.items():
        console.print(f"  {visible(reviewer)} takes {seconds:.0f} s a row", style="dim", highlight=False, markup=False)


_SUMMED = ("rows", "read", "simulated")


def _duration(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
