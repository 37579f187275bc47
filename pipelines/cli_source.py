"""`feedback-kto source`: mappings from raw logs to events."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from feedback.exceptions import FeedbackError
from feedback.mapping import map_day
from feedback.rawfiles import discover, skipped_files
from feedback.sources import load_source, shipped_sources
from pipelines.exceptions import UsageError

_MOST_REASONS = 10


@click.group()
def source() -> None:
    """Mappings from raw logs to events."""


@source.command("list")
def source_list() -> None:
    """The sources that come with the project."""
    for name, path in shipped_sources().items():
        click.echo(f"{name:<12} {load_source(name).description}  ({path})")


@source.command("check")
@click.argument("mapping")
@click.option("--input", "input_", type=click.Path(path_type=Path), required=True, help="Folder (or file) of raw logs.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Arrival day to try.  [default: the first]")
def source_check(mapping: str, input_: Path, day: datetime | None) -> None:
    """Run a mapping over one arrival day and show what it gives, without writing anything."""
    loaded = load_source(mapping)
    files = discover(input_, loaded)
    wanted = day.date() if day else files[0].arrival_date
    batch = [file for file in files if file.arrival_date == wanted]
    if not batch:
        raise UsageError(
            f"no file in {input_} arrived on {wanted}; the days are {files[0].arrival_date} to {files[-1].arrival_date}"
        )
    mapped = map_day(loaded, batch, input_root=input_)
    books = {
        name: sum(mapped.books.column(name).to_pylist())
        for name in ("lines", "mapped", "ignored", "quarantined", "events")
    }
    click.echo(f"{wanted}: " + ", ".join(f"{count:,} {name}" for name, count in books.items()))
    for item in mapped.events.column("kind").value_counts().to_pylist():
        click.echo(f"  {item['counts']:>9,} {item['values']}")
    for name in skipped_files(input_)[:5]:
        click.echo(f"  not read: {name} (no .jsonl, .csv or .parquet)")
    reasons: dict[str, list[dict[str, Any]]] = {}
    for row in mapped.quarantine.select(["file", "line", "reason"]).to_pylist():
        reasons.setdefault(row["reason"], []).append(row)
    for reason, rows in sorted(reasons.items(), key=lambda item: -len(item[1]))[:_MOST_REASONS]:
        place = f"{rows[0]['file']} line {rows[0]['line']}" if rows[0]["line"] else rows[0]["file"]
        click.echo(f"  {len(rows):>9,} quarantined: {reason} (first {place})")
    if len(reasons) > _MOST_REASONS:
        click.echo(f"  … and {len(reasons) - _MOST_REASONS:,} more reasons")
    if not mapped.events.num_rows:
        raise FeedbackError(f"no line of {wanted} gives an event under {loaded.path}; mend the mapping")
    for row in mapped.events.slice(0, 1).to_pylist():
        click.echo("the first event:\n" + json.dumps(row, indent=2, default=str, ensure_ascii=False)[:4000])
