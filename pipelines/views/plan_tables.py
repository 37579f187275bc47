"""Print a plan for `feedback-kto policy plan`: its sentences, matrices, flows, days and example rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from feedback.policy_changes.backfill_plan import Plan
from label_policy import CLASSES, Label, Tier
from label_policy.checks.label_diff import NO_ROW, NO_TIER
from pipelines.output.command_output import commands
from pipelines.output.safe_text import print_prose, visible
from pipelines.output.styles import LABEL_STYLES
from pipelines.views.plan_words import bounds, flow_words, gate_sentences, headline, side_words, sides, warnings

LABELS = (*Label, NO_ROW)
TIERS = (*Tier, NO_TIER, NO_ROW)
STYLES = {**LABEL_STYLES, NO_ROW: "dim"}
_MOST_ROWS = 12
_MOST_DAYS = 14
_WIDEST_BAR = 30
_LONGEST_ID = 28
_WITHOUT_TEXT = 90
"""Terminal columns that an example row takes beside its text."""
_NARROWEST_TEXT = 20


def show_plan(plan: Plan, console: Console) -> None:
    """Print the plan, shortened to what fits a terminal; the page and `--json` have all of it."""
    console.print(Text(sides(plan), style="bold"))
    for sentence in warnings(plan):
        print_prose(commands(sentence), console, style="yellow")
    for sentence in headline(plan):
        console.print(Text(sentence))
    show_gates(plan, console)
    figures = plan.figures
    if plan.changed:
        for title, name, order in (("Labels", "labels", LABELS), ("Tiers", "tiers", TIERS)):
            console.print(_matrix(f"{title}, before (rows) and after (columns)", figures[name], order))
        _show_flows(figures["flows"], console)
        _show_rules(figures["rules"], console)
        console.print(_categories(figures["categories"]))
        console.print(_days(figures["days"]))
    console.print(_balance(plan))
    if plan.examples:
        console.print(_examples(plan.examples, console.width))


def show_gates(plan: Plan, console: Console) -> None:
    """Print the audit's gate for both sides."""
    for sentence, details in gate_sentences(plan):
        print_prose(commands(sentence), console)
        for detail in details:
            print_prose(commands(detail), console, indent=2, style="dim")


def _matrix(title: str, flips: Sequence[Mapping[str, Any]], order: Sequence[str]) -> Table:
    befores, afters, cells = matrix(flips, order)
    table = _table(title, Column(), *afters)
    for before in befores:
        row = [
            Text(f"{cells[before, after]:,}", style="" if before == after else "bold yellow")
            if (before, after) in cells
            else Text("·", style="dim")
            for after in afters
        ]
        table.add_row(Text(before, style=STYLES.get(before, "")), *row)
    return table


def matrix(
    flips: Sequence[Mapping[str, Any]], order: Sequence[str]
) -> tuple[list[str], list[str], dict[tuple[str, str], int]]:
    """Return the values before, the values after, both in `order`, and the row count of each pair."""
    cells = {(flip["before"], flip["after"]): flip["rows"] for flip in flips}
    befores, afters = ({pair[side] for pair in cells} for side in (0, 1))
    return [name for name in order if name in befores], [name for name in order if name in afters], cells


def _show_flows(flows: Sequence[Mapping[str, Any]], console: Console) -> None:
    decided = [flow for flow in flows if flow["kind"] != "maturity"]
    if not decided:
        return
    columns = (Column("before"), Column("after"), Column("change"))
    table = _table("Changes by deciding rule", "rows", *columns)
    for flow in decided[:_MOST_ROWS]:
        table.add_row(
            f"{flow['rows']:,}",
            *(_decided(flow, side) for side in ("before", "after")),
            Text(flow_words(flow), style="dim"),
        )
    console.print(table)
    _show_rest(decided, "rows", console)


def _decided(flow: Mapping[str, Any], side: str) -> Text:
    rule, label = flow[f"{side}_rule"], flow[f"{side}_label"]
    return Text.assemble(rule, " ", ("" if rule == NO_ROW else label, STYLES[label]))


def _show_rules(rules: Sequence[Mapping[str, Any]], console: Console) -> None:
    moved = [rule for rule in rules if rule["lost"] or rule["gained"]]
    if not moved:
        return
    table = _table("Rows that each rule decides", Column("rule"), "before", "lost", "gained", "after")
    for rule in moved[:_MOST_ROWS]:
        table.add_row(
            rule["rule"],
            f"{rule['before']:,}",
            Text(f"−{rule['lost']:,}" if rule["lost"] else "", style="red"),
            Text(f"+{rule['gained']:,}" if rule["gained"] else "", style="green"),
            f"{rule['after']:,}",
        )
    console.print(table)
    _show_rest(moved, None, console)


def _show_rest(rows: Sequence[Mapping[str, Any]], counted: str | None, console: Console) -> None:
    rest = rows[_MOST_ROWS:]
    if rest:
        total = f", of {sum(row[counted] for row in rest):,} rows" if counted else ""
        console.print(f"  and {len(rest)} more{total}; the page and --json have them", style="dim")


def _categories(categories: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("By category", Column("category"), "labels", "change", *Label)
    for row in categories[:_MOST_ROWS]:
        table.add_row(
            Text(visible(row["category"] or "none")),
            f"{row['rows']:,}",
            f"{row['changed']:,}",
            *(_moved(row[f"{label}_before"], row[f"{label}_after"]) for label in Label),
        )
    return table


def _moved(before: int, after: int) -> str:
    return f"{before:,} → {after:,}" if before != after else f"{before:,}"


def _days(days: Sequence[Mapping[str, Any]]) -> Table:
    changing = sorted((day for day in days if day["changed"]), key=lambda day: -day["changed"])
    shown = sorted(changing[:_MOST_DAYS], key=lambda day: day["day"])
    most = max(day["changed"] for day in shown)
    limit = f": the {_MOST_DAYS} of {len(changing)} with the most changes" if len(changing) > _MOST_DAYS else ""
    table = _table(f"Days that change{limit}", Column("day"), "labels", "change", Column())
    for day in shown:
        bar = "█" * max(1, round(_WIDEST_BAR * day["changed"] / most))
        table.add_row(str(day["day"]), f"{day['rows']:,}", f"{day['changed']:,}", Text(bar, style="yellow"))
    return table


def _balance(plan: Plan) -> Table:
    balance = plan.figures["balance"]
    title = "Labels that would train, before duplicates and held-out tickets are left out"
    table = _table(title, Column(), *CLASSES, Column("λ bounds"))
    for side, counts in balance.items():
        table.add_row(
            "\n".join(side_words(plan, side)),
            *(f"{counts[name]:,}" for name in CLASSES),
            bounds(counts).replace(", or", ",\nor"),
        )
    return table


def _examples(examples: Sequence[Mapping[str, Any]], width: int) -> Table:
    left = width - _WITHOUT_TEXT
    texts = [Column("text", ratio=1)] if left >= _NARROWEST_TEXT else []
    columns = (Column(name, no_wrap=True) for name in ("draft", "before", "after"))
    table = _table(f"{len(examples)} example rows", *columns, *texts, width=width if texts else None)
    for row in examples:
        text = row["final_text"] if row["is_sent_text"] else row["completion"]
        table.add_row(
            Text.assemble(visible(row["draft_id"])[:_LONGEST_ID], "\n", (_place(row), "dim")),
            *(_verdict(row[side]) for side in ("before", "after")),
            *([Text(visible(text or "")[: 2 * left])] if texts else []),
        )
    return table


def _place(row: Mapping[str, Any]) -> str:
    return visible(f"{row['shown_date']} {row['category'] or ''}")[:_LONGEST_ID]


def _verdict(side: Mapping[str, Any] | None) -> Text:
    if side is None:
        return Text(NO_ROW, style=STYLES[NO_ROW])
    grade = f"{side['tier']} {side['weight']:g}" if side["tier"] else ""
    return Text.assemble((side["label"], STYLES[side["label"]]), " ", (grade, "dim"), "\n", side["rule"])


def _table(title: str, *columns: str | Column, width: int | None = None) -> Table:
    """Return a table; a column that is only a name holds numbers."""
    return Table(
        *(column if isinstance(column, Column) else Column(column, justify="right") for column in columns),
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1),
        width=width,
    )  # fmt: skip
