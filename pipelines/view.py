"""What the command shows: stages as they run, and what the run made."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from assets.desk import Desk
from pipelines.follow import RunSeen, StageSeen

_SECONDS_BETWEEN_PLAIN_LINES = 10.0
_MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]"}


def show_run(run: Iterable[RunSeen], console: Console) -> RunSeen:
    """Show the run until it has ended: live on a terminal, a line a stage elsewhere. Returns its last state."""
    return _show_live(run, console) if console.is_terminal else _show_plain(run, console)


def _show_live(run: Iterable[RunSeen], console: Console) -> RunSeen:
    seen = None
    spinner = Spinner("dots")
    with Live(console=console, refresh_per_second=8) as live:
        for seen in run:
            live.update(_stage_table(seen, spinner))
        assert seen is not None
        live.update(_stage_table(seen, spinner))
    return seen


def _stage_table(seen: RunSeen, spinner: Spinner) -> Table:
    table = Table.grid(padding=(0, 1))
    for _ in range(5):
        table.add_column()
    if not seen.stages and not seen.finished:
        table.add_row(spinner, "loading the pipeline", "", "", "")
    for stage in seen.stages.values():
        progress = stage.progress
        bar = ProgressBar(total=progress.total, completed=progress.done, width=24) if progress else ""
        running = stage.state == "running"
        table.add_row(
            spinner if running else _MARKS[stage.state], stage.name, f"{_elapsed(stage):5.1f} s",
            bar if running else "", _words(stage) if running else "",
        )  # fmt: skip
    return table


def _show_plain(run: Iterable[RunSeen], console: Console) -> RunSeen:
    seen, told, last = None, set[str](), time.monotonic()
    for seen in run:
        for stage in seen.stages.values():
            if stage.state != "running" and stage.name not in told:
                told.add(stage.name)
                console.print(f"{_MARKS[stage.state]} {stage.name} {stage.seconds:.1f} s", highlight=False)
            elif stage.state == "running" and time.monotonic() - last >= _SECONDS_BETWEEN_PLAIN_LINES:
                last = time.monotonic()
                console.print(f"  {stage.name} {_elapsed(stage):.0f} s  {_words(stage)}", highlight=False)
    assert seen is not None
    return seen


def _elapsed(stage: StageSeen) -> float:
    return stage.seconds + time.time() if stage.state == "running" else stage.seconds


def _words(stage: StageSeen) -> str:
    progress = stage.progress
    if progress is None:
        return ""
    figures = "  ".join(f"{name} {value:,.4g}" for name, value in progress.figures.items())
    return f"{progress.stage} {progress.done:,}/{progress.total:,} {progress.unit}  {figures}"


def show_summary(summary: dict[str, Any], desk: Desk, console: Console) -> None:
    """Print what the run made, in the order in which it was made."""
    console.print(_record_table(summary))
    console.print(_labels_table(summary))
    console.print(_training_table(summary))
    console.print(_models_table(summary))
    gate = summary["gate"]
    verdict = "passed: it is now the champion" if summary["promoted"] else "not passed: " + "; ".join(gate["reasons"])
    console.print(f"Gate {verdict}.\n", highlight=False)
    places = Table(title="Where it lies", title_justify="left", title_style="bold", box=None, show_header=False)
    places.add_row("release", summary["release"])
    places.add_row("training set", str(desk.training_sets / summary["training_set"]["version"]))
    places.add_row("lake", str(desk.lake.root))
    places.add_row("settings", str(desk.path / "desk.yaml"))
    console.print(places, soft_wrap=True)
    console.print("\n[bold]What to try next[/]", highlight=False)
    for line in (
        "make ui                          the same run in Dagster: lineage, partitions, training curve",
        "feedback-kto policy check FILE   check a policy of your own; set it in desk.yaml and `feedback-kto relabel`",
        "feedback-kto source check FILE --input DIR   write a mapping for your own logs and see what it gives",
        "feedback-kto run                 run everything again; what has not changed comes out the same",
    ):
        console.print("  " + line, highlight=False, soft_wrap=True)


def _record_table(summary: dict[str, Any]) -> Table:
    table = _table(
        f"Rows, from {summary['source']} logs to training set", "stage", "in", "out", "what became of the rest"
    )
    n = summary
    rest = [f"{n['ignored']:,} lines ignored by the mapping", f"{n['quarantined']:,} quarantined"]
    rest += [f"{count:,} × {reason}" for reason, count in n["parts_ignored"].items()]
    table.add_row("raw lines → mapped lines", f"{n['lines']:,}", f"{n['mapped']:,}", ", ".join(rest))
    table.add_row(
        "mapped lines → events",
        f"{n['mapped']:,}",
        f"{n['events']:,}",
        f"{n['duplicates']:,} delivered twice and dropped",
    )
    table.add_row("events → interactions", f"{n['events']:,}", f"{n['interactions']:,}", "one row a draft shown")
    labels = n["labels"]
    trainable = labels["desirable"] + labels["undesirable"]
    table.add_row(
        "interactions → labels", f"{n['interactions']:,}", f"{trainable:,}",
        f"{labels['abstain']:,} abstained, {n['provisional']:,} still provisional",
    )  # fmt: skip
    rows = n["training_set"]
    total = rows["desirable"] + rows["undesirable"]
    table.add_row(
        "labels → training rows", f"{trainable:,}", f"{total:,}",
        f"{rows['heldout']:,} held out by ticket, the rest doubled or contradicted",
    )  # fmt: skip
    return table


def _labels_table(summary: dict[str, Any]) -> Table:
    table = _table("Labels by tier", "tier", "desirable", "undesirable")
    for tier in ("critical", "explicit", "strong", "weak"):
        counts = summary["tiers"].get(tier)
        if counts:
            table.add_row(tier, *(f"{counts.get(name, 0):,}" for name in ("desirable", "undesirable")))
    table.add_section()
    table.add_row("all", *(f"{summary['labels'][name]:,}" for name in ("desirable", "undesirable")))
    return table


def _training_table(summary: dict[str, Any]) -> Table:
    table = _table("KTO training", "figure", "value")
    for name, value in summary["train"].items():
        if isinstance(value, int | float):
            table.add_row(name.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else f"{value:,}")
    return table


def _models_table(summary: dict[str, Any]) -> Table:
    table = _table("The model before and after", "measure", "prior", "before", "after")
    heldout = summary["heldout"]
    for name in ("auc", "accuracy", "choice_accuracy"):
        figures = [heldout.get(f"{name}_{when}") for when in ("prior", "before", "after")]
        if figures[2] is not None:
            table.add_row(
                f"held-out {name.replace('_', ' ')}", *("" if value is None else f"{value:.3f}" for value in figures)
            )
    if heldout.get("reward_margin") is not None:
        table.add_row("held-out reward margin", "", "0", f"{heldout['reward_margin']:.3f}")
    if summary["truth"]:
        table.add_section()
        before, after = (summary["truth"][name]["kpis"] for name in ("baseline", "model"))
        for name in after:
            table.add_row(name.replace("_", " "), "", *(f"{kpis[name]['share']:.1%}" for kpis in (before, after)))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        textual = number == 0 or name.startswith("what")
        table.add_column(name, justify="left" if textual else "right")
    return table
