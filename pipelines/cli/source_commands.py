"""`feedback-kto source`: mappings from raw logs to events."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from feedback.exceptions import FeedbackError
from feedback.sources.raw_files import discover, skipped_files
from feedback.sources.source import load_source, shipped_sources
from pipelines.output.exceptions import UsageError

if TYPE_CHECKING:
    from feedback.ingest.map_day import MappedDay
    from feedback.sources.source import Source


@click.group()
def source() -> None:
    """Mappings from raw logs to events."""


@source.command("list")
def source_list() -> None:
    """List the sources that come with the project."""
    for name, path in shipped_sources().items():
        click.echo(f"{name:<12} {load_source(name).description}  ({path})")


@source.command("check")
@click.argument("mapping")
@click.option("--input", "input_", type=click.Path(path_type=Path), required=True, help="Folder (or file) of raw logs.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Arrival day to try.  [default: the first]")
def source_check(mapping: str, input_: Path, day: datetime | None) -> None:
    """Run a mapping over one arrival day and show what it gives, without writing anything.

    It shows the books of the day, why lines are in quarantine, and an event of each kind.
    """
    from feedback.ingest.map_day import map_day
    from pipelines.views.source_view import show_examples, show_mapped

    loaded = load_source(mapping)
    files = discover(input_, loaded)
    wanted = day.date() if day else files[0].arrival_date
    batch = [file for file in files if file.arrival_date == wanted]
    if not batch:
        raise UsageError(
            f"no file in {input_} arrived on {wanted}; the days are {files[0].arrival_date} to {files[-1].arrival_date}"
        )
    mapped = map_day(loaded, batch, input_root=input_)
    show_mapped(mapped, f"{wanted}", skipped_files(input_))
    if not mapped.events.num_rows:
        raise FeedbackError(f"no line of {wanted} gives an event: {_why_none(mapped, loaded, mapping)}")
    show_examples(mapped.events)


def _why_none(mapped: MappedDay, source: Source, name: str) -> str:
    from feedback.ingest.quarantine_reasons import is_of_the_file

    reasons = mapped.quarantine.column("reason").to_pylist()
    ignored = sum(mapped.books.column("ignored").to_pylist())
    if reasons and not ignored and all(map(is_of_the_file, reasons)):
        return "its files cannot be read, whatever the mapping; replace them with complete files, or try another --day"
    if name in shipped_sources():
        return f"these logs have another format than {name}'s; write a mapping of your own, as docs/sources.md says"
    return f"correct the mapping {source.path}"
