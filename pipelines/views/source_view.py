"""Print a mapped day for `feedback-kto source check`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click
import pyarrow as pa

from feedback.ingest.map_day import MappedDay
from feedback.ingest.quarantine_reasons import general_reason
from feedback.sources.raw_files import endings
from pipelines.output.safe_text import visible

_MOST_REASONS = 10
_MOST_SKIPPED = 5
_LONGEST_TEXT = 200


def show_mapped(mapped: MappedDay, day: str, skipped: list[str]) -> None:
    """Print the day's books: events by kind, and ignored and quarantined lines by reason."""
    books = mapped.books.to_pylist()
    totals = {
        name: sum(book[name] for book in books) for name in ("lines", "mapped", "ignored", "quarantined", "events")
    }
    ids = mapped.events.column("event_id")
    totals["delivered twice"] = len(ids) - len(ids.unique())
    click.echo(f"{day}: " + ", ".join(f"{count:,} {name}" for name, count in totals.items()))
    for item in sorted(mapped.events.column("kind").value_counts().to_pylist(), key=lambda item: -item["counts"]):
        click.echo(f"  {item['counts']:>9,} {item['values']}")
    parts = Counter[str]()
    for book in books:
        parts.update(json.loads(book["parts_ignored"]))
    _list(parts.most_common(), "ignored: ")
    _list(_quarantined(mapped.quarantine), "quarantined: ")
    for book in books:
        if not book["complete"]:
            click.echo(f"  not read to the end: {book['file']} ({book['incomplete_reason']})")
    for name in skipped[:_MOST_SKIPPED]:
        click.echo(f"  not read: {name} (no {endings()})")
    if len(skipped) > _MOST_SKIPPED:
        click.echo(f"  … and {len(skipped) - _MOST_SKIPPED:,} more files not read")


def _quarantined(quarantine: pa.Table) -> list[tuple[str, int]]:
    """Return the quarantine reasons with their counts, the most frequent first, each with its first line and value.

    The reason why a file could not be read to its end is printed with the file instead.
    """
    counts = Counter[str]()
    firsts: dict[str, str] = {}
    for row in quarantine.select(["file", "line", "reason"]).to_pylist():
        if row["line"] is None and row["reason"] != "empty file":
            continue
        reason, value = general_reason(row["reason"])
        place = f"{row['file']} line {row['line']}" if row["line"] else row["file"]
        firsts.setdefault(reason, f"first {place}" + (f": {value}" if value else ""))
        counts[reason] += 1
    return [(visible(f"{reason} ({firsts[reason]})"), count) for reason, count in counts.most_common()]


def _list(counts: Iterable[tuple[str, int]], prefix: str) -> None:
    counts = list(counts)
    for text, count in counts[:_MOST_REASONS]:
        click.echo(f"  {count:>9,} {prefix}{text}")
    if len(counts) > _MOST_REASONS:
        click.echo(f"  … and {len(counts) - _MOST_REASONS:,} more reasons")


def show_examples(events: pa.Table) -> None:
    """Print the first event of each kind as JSON, without null fields and with long texts cut."""
    kinds = events.column("kind").to_pylist()
    for kind in dict.fromkeys(kinds):
        [event] = events.slice(kinds.index(kind), 1).to_pylist()
        fields = {name: _cut(value) for name, value in event.items() if value is not None}
        click.echo(f"the first {kind}:")
        click.echo(visible(json.dumps(fields, indent=2, default=str, ensure_ascii=False), lines=True))


def _cut(value: Any) -> Any:  # noqa: ANN401  # whatever an event's column holds
    match value:
        case str() if len(value) > _LONGEST_TEXT:
            return value[:_LONGEST_TEXT] + "…"
        case list():
            return [_cut(item) for item in value]
        case dict():
            return {name: _cut(item) for name, item in value.items()}
    return value
