"""Print a sweep as a table in a terminal."""

from collections.abc import Mapping
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kto_core.base.figures import FIGURES, SWEEP_FIGURES
from kto_core.sweep.space import SWEPT, settings_text

COLUMNS: Final = {name: FIGURES[name].heading for name in SWEEP_FIGURES}
DISTANCES: Final = {"kl": "KL", "z0": "z0"}


def show_sweep(result: Mapping[str, Any], console: Console) -> None:
    """Print the result of `kto_core.run_sweep`: every trial, best first, then the reference and the prior."""
    trials, failed, held = result["trials"], result["failed"], result["heldout"]
    console.print(
        f"{len(trials) + len(failed)} trials from {result['reference_id']}, measured on {held['rows']:,} held-out rows "
        f"({held['desirable']:,} desirable, {held['choice_sets']:,} choice sets).",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table(result))
    for trouble in sorted({name for trial in trials for name in trial["troubles"]}):
        affected = [settings_text(trial["settings"]) for trial in trials if trouble in trial["troubles"]]
        console.print(f"{trouble}: {'; '.join(affected)}.", highlight=False, soft_wrap=True)
    for trial in failed:
        console.print(
            f"{settings_text(trial['settings'])} failed: {escape(trial['error'])}", highlight=False, soft_wrap=True
        )
    computed = [trial["reference_computed"] for trial in sorted(trials, key=lambda trial: trial["trial"])]
    best, nearest = result["best"]["settings"], result["nearest"]
    console.print(
        f"Best by {result['objective']['name']}: {settings_text(best)}."
        + (f" As good, and nearest to the reference: {settings_text(nearest)}." if nearest != best else "")
        + "\n"
        f"Reference log-probabilities computed: {computed[0]:,} by the first trial, {sum(computed[1:]):,} by the "
        "others.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"{DISTANCES[result['distance']]}: nats that replies moved from the reference. As good: the held-out tickets "
        "cannot\ntell it from the best (95 %). Pareto: no other trial is better and nearer. Prior: how often a text\n"
        "was liked in training.",
        style="dim",
        highlight=False,
        soft_wrap=True,
    )


def _table(result: Mapping[str, Any]) -> Table:
    settings, kpis, goal = list(result["space"]), list(result["kpis"]), result["objective"]["name"]
    measured = [name for name in COLUMNS if result["reference"][name] is not None]
    measures = [
        name for name in measured if name != "auc" or name == goal
    ]  # plain AUC also measures what categories reveal
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in settings:
        table.add_column(SWEPT[name].replace(" ", "\n"), justify="right", no_wrap=True)
    for name in (*measures, *kpis):
        title = COLUMNS.get(name) or name.replace("_", "\n")
        table.add_column(title, justify="right", no_wrap=True, style="bold" if name == goal else "")
    table.add_column(DISTANCES[result["distance"]], justify="right", no_wrap=True)
    table.add_column("")
    for place, trial in enumerate(result["trials"]):
        notes = [
            *(["best"] if place == 0 else []),
            *(["as good"] if trial["as_good"] and place else []),
            *(["Pareto"] if trial["pareto"] else []),
            *(["as set"] if trial["as_set"] else []),
        ]
        table.add_row(
            *(f"{trial['settings'][name]:.4g}" for name in settings),
            *(_figure(trial[name], name in kpis) for name in (*measures, *kpis)),
            f"{trial[result['distance']]:.3g}",
            ", ".join(notes),
            style="green" if place == 0 else "",
        )
    table.add_section()
    for name in ("reference", "prior"):
        figures = [_figure(result[name].get(measure), measure in kpis) for measure in (*measures, *kpis)]
        table.add_row(*([""] * len(settings)), *figures, "", name, style="dim")
    return table


def _figure(value: float | None, share: bool) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if share else f"{value:.3f}"
