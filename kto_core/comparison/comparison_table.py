"""Print a comparison as tables in a terminal."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from kto_core.base.figures import FIGURES
from kto_core.base.objective_registry import OBJECTIVES, titles

MEASURES: Final = {name: figure.title for name, figure in FIGURES.items() if figure.compared}


def show_comparison(result: Mapping[str, Any], console: Console) -> None:
    """Print the result of `kto_core.compare`: the budget, how each contestant was trained, and every measure."""
    budget, pairs, held = result["budget"], result["pairs"], result["heldout"]
    console.print(
        f"Budget of each: {budget['steps']:,} optimizer steps, {budget['completions']:,} completions"
        + (f", {budget['seeds']} seeds" if budget["seeds"] > 1 else "")
        + f".\nTo learn from: {result['rows']['train']:,} rows; {pairs['train']:,} pairs of {pairs['tickets']:,} "
        f"tickets ({pairs['from_preferences']:,} stated, {pairs['from_choice_sets']:,} from choice sets).\n"
        f"Held out: {held['rows']:,} rows, {held['pairs']:,} pairs, {held['choice_sets']:,} choice sets of "
        f"{held['tickets']:,} tickets.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_trainings(result))
    console.print(_measures(result))
    console.print(
        "95 % intervals over tickets, from the same resamples for both sides of a difference.\n"
        f"Pairs in order: by reward, the log-ratio to the reference, for {_ranked_by('reward')};\n"
        f"by score, the mean token log-probability, for {_ranked_by('score', 'the reference')}. All else is by score.\n"
        "Prior: how often a text was liked in training, whatever the prompt.",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


def _ranked_by(figure: str, *more: str) -> str:
    return titles((objective for objective in OBJECTIVES.values() if objective.ranked_by == figure), *more)


def _trainings(result: Mapping[str, Any]) -> Table:
    table = Table(title="How each was trained", title_justify="left", title_style="bold")
    table.add_column("contestant")
    for name in ("completions", "passes over its data", "seconds of its steps"):
        table.add_column(name, justify="right")
    for name, arm in result["contestants"].items():
        if "models" in arm:
            seconds = sum(arm["step_seconds"]) / len(arm["step_seconds"])
            table.add_row(name, f"{arm['completions']:,}", f"{arm['passes']:.2f}", f"{seconds:.0f}")
    return table


def _measures(result: Mapping[str, Any]) -> Table:
    table = Table(title="On held-out tickets", title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("value", "95 %", "KTO − it", "95 %"):
        table.add_column(name, justify="right")
    for name, title in MEASURES.items():
        table.add_section()
        values = {arm: contestant["measures"][name] for arm, contestant in result["contestants"].items()}
        if not any(values.values()):
            table.add_row(f"[bold]{title}[/]", "too few", "", "", "")
            continue
        table.add_row(f"[bold]{title}[/]", "", "", "", "")
        for arm, estimate in values.items():
            if estimate is not None:
                difference = result["differences"]["kto"].get(arm, {}).get(name)
                table.add_row(f"  {arm}", *_cells(estimate, ".3f"), *_cells(difference, "+.3f"))
    return table


def _cells(estimate: Mapping[str, float] | None, form: str) -> tuple[str, str]:
    if estimate is None:
        return "", ""
    return f"{estimate['value']:{form}}", f"{estimate['low']:{form}} … {estimate['high']:{form}}"
