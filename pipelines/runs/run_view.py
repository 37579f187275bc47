"""The terminal view of a run: stages while they run, and the summary after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table

from desk.desk import Desk
from kto_core.base.figures import DECIDING_FIGURE, FIGURES, ROW_FIGURES
from kto_core.base.objective_registry import OBJECTIVES
from label_policy import CLASSES, Label
from pipelines.output.command_output import commands
from pipelines.output.safe_text import visible
from pipelines.runs.run_state import RunSeen, StageSeen

_SECONDS_BETWEEN_PLAIN_LINES = 10.0
# With fewer, the share in which the desirable draft wins is noise.
_FEWEST_CHOICE_SETS = 30
_FEWEST_CATEGORY_ROWS = 50
_MOST_CATEGORIES = 8
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
    seen, shown, last = None, set[str](), time.monotonic()
    for seen in run:
        for stage in seen.stages.values():
            if stage.state != "running" and stage.name not in shown:
                shown.add(stage.name)
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


def show_summary(summary: dict[str, Any], desk: Desk, console: Console, *, hints: bool) -> None:
    """Print what the run made, in the order in which it was made, and with `hints` what to try next."""
    show_record(summary, console)
    places: dict[str, object] = {}
    if "release" in summary:
        _show_models(summary, console)
        places |= {"release": summary["release"], "training curve": f"{summary['candidate']}/curve.png"}
    if "training_set" in summary:
        places["training set"] = desk.training_sets / summary["training_set"]["version"]
    places |= {"lake": desk.lake.root, "settings": desk.path / "desk.yaml"}
    console.print("[bold]Where it lies[/]")
    for name, place in places.items():
        console.print(f"  {name:<16}{place}", highlight=False, soft_wrap=True)
    if summary["as_of"]:
        again = f"`feedback-kto rebuild --as-of {summary['as_of']}` makes it again as it was"
        console.print(commands(f"As of {summary['as_of']}; {again}."), highlight=False, soft_wrap=True)
    if not hints:
        return
    console.print("\n[bold]What to try next[/]", highlight=False)
    for command, what in (
        ("make ui", "the same run in Dagster: lineage, partitions, the training curve"),
        ("feedback-kto policy check FILE", "check a policy of your own; name it in the settings, then relabel"),
        ("feedback-kto relabel", "label all days again in one run; `feedback-kto retrain` trains on them"),
        ("feedback-kto source check FILE --input DIR", "try a mapping for logs of your own; then `feedback-kto init`"),
    ):
        console.print(commands(f"  {command:<44}{what}"), highlight=False, soft_wrap=True)


def show_record(summary: dict[str, Any], console: Console) -> None:
    """Print what became of the rows from raw line to label, and to training row where there is a training set."""
    console.print(_record_table(summary))
    console.print(_labels_table(summary))
    if audit := summary.get("training_set", {}).get("audit"):
        console.print(_audit_words(audit), highlight=False, markup=False, soft_wrap=True)


def _audit_words(audit: dict[str, Any]) -> str:
    """Say in a line what the audit lets train."""
    state = "open" if audit["passed"] else "closed"
    if override := audit["override"]:
        state += f", by the override of {visible(override['who'])}: {visible(override['why'])}"
    if audit["excluded"]:
        state += f"; without tier {' and '.join(audit['excluded'])}, which failed"
    by = ", by simulated verdicts" if audit["simulated"] else ""
    return commands(f"The audit's gate{by}: {state} (`feedback-kto audit report`).")


def _show_models(summary: dict[str, Any], console: Console) -> None:
    _show_training(summary, console)
    console.print(_models_table(summary))
    console.print(
        "Held-out rows are of tickets that training never saw; before and after: by how likely a model finds a draft;\n"
        "prior: by how often that very text was good in training.",
        style="dim",
    )
    reasons = "; ".join(summary["gate"]["reasons"])
    verdict = "passed: this release is now the champion" if summary["promoted"] else f"not passed: {reasons}"
    console.print(f"Gate {verdict}.\n", highlight=False)


def _record_table(summary: dict[str, Any]) -> Table:
    table = _table(
        f"Rows, from {summary['source']} logs to training set", "stage", "in", "out", "what became of the rest"
    )
    n = summary
    table.add_row("raw lines → mapped lines", f"{n['lines']:,}", f"{n['mapped']:,}", _unmapped(n))
    table.add_row(
        "mapped lines → events",
        f"{n['mapped']:,}",
        f"{n['events']:,}",
        f"{n['duplicates']:,} delivered twice and dropped",
    )
    table.add_row("events → interactions", f"{n['events']:,}", f"{n['interactions']:,}", "one row a draft shown")
    labels = n["labels"]
    trainable = sum(labels[name] for name in CLASSES)
    table.add_row(
        "interactions → labels",
        f"{n['interactions']:,}",
        f"{trainable:,}",
        f"{labels[Label.ABSTAIN]:,} where the policy abstains",
    )
    rows = n.get("training_set")
    if rows is None:
        final = trainable - n["provisional"]
        table.add_row("labels → final labels", f"{trainable:,}", f"{final:,}", f"{n['provisional']:,} provisional")
        return table
    left_out = {"provisional": n["provisional"], **rows["left_out"], "held out by ticket": rows["heldout"]}
    table.add_row(
        "labels → training rows",
        f"{trainable:,}",
        f"{sum(rows[name] for name in CLASSES):,}",
        ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count),
    )
    if pairs := sum(rows["preferences"].values()):
        table.add_row("labels → preference pairs", f"{trainable:,}", f"{pairs:,}", "chosen over rejected, for DPO")
    return table


def _unmapped(summary: dict[str, Any]) -> str:
    """Count the lines that gave no event, by reason, and the files that could not be read to their end."""
    parts = ", ".join(f"{count:,} × {reason}" for reason, count in summary["parts_ignored"].items())
    # Parts of lines that gave events are ignored too: then they are more than the lines.
    whole = sum(summary["parts_ignored"].values()) <= summary["ignored"]
    counts = [f"{summary['ignored']:,} ignored" + (f" ({parts})" if parts and whole else "")]
    counts.append(f"{summary['quarantined']:,} quarantined")
    if parts and not whole:
        counts.append(f"parts of lines ignored: {parts}")
    if files := summary["incomplete_files"]:
        counts.append(f"{len(files):,} file{'s' if len(files) > 1 else ''} not read to the end")
    return ", ".join(counts)


def _labels_table(summary: dict[str, Any]) -> Table:
    table = _table("Labels by tier", "tier", *CLASSES)
    for tier, counts in summary["tiers"].items():
        table.add_row(tier, *(f"{counts.get(name, 0):,}" for name in CLASSES))
    table.add_section()
    table.add_row("all", *(f"{summary['labels'][name]:,}" for name in CLASSES))
    return table


def _show_training(summary: dict[str, Any], console: Console) -> None:
    import pyarrow.parquet as pq

    from kto_core.base.store import read_json

    train, rows = summary["train"], summary["training_set"]
    candidate = Path(summary["candidate"])
    title = f"{OBJECTIVES[str(read_json(candidate / 'training.json')['kind'])].title} training"
    console.print(
        f"[bold]{title}[/]: {train['steps']:,} steps in {train['seconds']:.0f} s saw {train['rows_seen']:,} of "
        f"{sum(rows[name] for name in CLASSES):,} training rows ({train['share_of_rows_seen']:.1%})",
        highlight=False,
    )
    metrics = pq.read_table(candidate / "metrics.parquet")
    table = Table.grid(padding=(0, 2))
    for title, column in (
        ("loss", "loss"),
        ("reward, desirable", "reward_desirable"),
        ("reward, undesirable", "reward_undesirable"),
        ("z0, before the clamp", "z0_raw"),
    ):
        values = [value for value in metrics.column(column).to_pylist() if value is not None]
        if values:
            tenth = max(1, len(values) // 10)
            first, last = (sum(part) / tenth for part in (values[:tenth], values[-tenth:]))
            table.add_row(f"  {title}", f"{first:8.3f}", _sparkline(values), f"{last:8.3f}")
    console.print(table)


def _sparkline(values: Sequence[float], width: int = 30) -> str:
    """The values as a line of bars, each the mean of its share of them, from their least to their greatest."""
    parts = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    means = [sum(part) / len(part) for part in parts if part]
    low, high = min(means), max(means)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (mean - low) / (high - low or 1))] for mean in means)


def _models_table(summary: dict[str, Any]) -> Table:
    table = _table(
        f"The model before and after, on {summary['heldout']['rows']:,} held-out rows",
        "measure",
        "prior",
        "before",
        "after",
    )
    heldout = summary["heldout"]
    shown = {name: part for name, part in heldout["categories"].items() if part["rows"] >= _FEWEST_CATEGORY_ROWS}
    for name in ROW_FIGURES:
        if name == "choice_accuracy" and heldout["choice_sets"] < _FEWEST_CHOICE_SETS:
            continue
        _add_measure(table, f"held-out {FIGURES[name].title}", heldout, name)
        if name == DECIDING_FIGURE and 1 < len(shown) <= _MOST_CATEGORIES:
            for category, part in shown.items():
                _add_measure(table, f"  in {category}", part, "auc")
    if heldout.get("reward_margin") is not None:
        table.add_row("held-out reward margin", "", "0", f"{heldout['reward_margin']:.3f}")
    if summary["truth"]:
        table.add_section()
        before, after = (summary["truth"][name]["kpis"] for name in ("baseline", "model"))
        for name in after:
            table.add_row(name.replace("_", " "), "", *(f"{kpis[name]['share']:.1%}" for kpis in (before, after)))
    return table


def _add_measure(table: Table, title: str, figures: dict[str, Any], name: str) -> None:
    values = [figures.get(f"{name}_{when}") for when in ("prior", "before", "after")]
    if values[2] is not None:
        table.add_row(title, *("" if value is None else f"{value:.3f}" for value in values))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        textual = number == 0 or name.startswith("what")
        table.add_column(name, justify="left" if textual else "right")
    return table
