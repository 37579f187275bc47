"""docs/sources.md agrees with the code: its mapping, the columns, every kind with its needs, and the limits."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from feedback.ingest.event_checks import EARLIEST, REQUIRED
from feedback.ingest.failing_lines import MOST_FAILING_LINES
from feedback.ingest.map_day import MappedDay, map_day
from feedback.lake.event_schema import (
    ALL_KINDS,
    DRAFT_KINDS,
    MAPPED_COLUMNS,
    NEEDED_COLUMNS,
    QUARANTINE_SCHEMA,
    ROW_SUFFIXES,
)
from feedback.sources.json_depth import DEPTH_LIMIT
from feedback.sources.json_lines import LINE_LIMIT
from feedback.sources.line_streams import HEAD
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source
from label_policy import DRAFT_COLUMNS, EVENT_KINDS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[0]


def table(header: str) -> dict[str, set[str]]:
    """Return a table's rows: the first cell's text in backticks, and the second cell."""
    rows = TEXT.split(f"| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = ([set(re.findall(r"`([^`]*)`", cell)) for cell in row.split("|")[1:3]] for row in rows)
    return {name: second for first, second in cells for name in first}


@pytest.fixture
def mapped(tmp_path: Path) -> MappedDay:
    (tmp_path / "my.sql").write_text(block("sql"))
    (tmp_path / "2026-03-02.jsonl").write_text(block("json"))
    source = load_source(tmp_path / "my.sql")
    files = [file for file in discover(tmp_path, source) if file.format == "jsonl"]
    return map_day(source, files, input_root=tmp_path)


def test_the_mapping_gives_what_the_page_says(mapped: MappedDay) -> None:
    assert mapped.quarantine.num_rows == 0
    [book] = mapped.books.to_pylist()
    assert (book["lines"], book["mapped"], book["ignored"]) == (5, 3, 2)
    assert json.loads(book["parts_ignored"]) == {"login": 1, "typing": 1}
    shown, edited, surveyed = mapped.events.to_pylist()
    assert [event["kind"] for event in (shown, edited, surveyed)] == ["draft_shown", "edited", "surveyed"]
    assert shown["prompt"] == [{"role": "user", "content": "How long do I have to return it?"}]
    assert (shown["completion"], edited["final_text"]) == ("You have 30 days.", "You have 14 days.")
    assert surveyed["score"] == 1.0
    assert surveyed["received_at"] > surveyed["occurred_at"]
    assert shown["arrival_date"] == date(2026, 3, 2)


def test_every_column_and_kind_is_explained_and_none_that_is_not() -> None:
    assert set(table("column | what")) == {"file", "line", "arrival_date", "row"}
    returned = TEXT.split("## What it returns")[1]
    columns = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", returned, re.MULTILINE)
    assert columns == [*MAPPED_COLUMNS, "reason"]


def test_each_kind_and_draft_column_is_described_in_the_words_of_its_registry() -> None:
    described = {
        name: says.strip()
        for name, says in re.findall(r"^\| `(\w+)` \|(?:[^|\n]*\|)? ([^|\n]*) \|$", TEXT, re.MULTILINE)
    }
    registered = {entry.name: entry.says for entry in (*EVENT_KINDS, *DRAFT_COLUMNS)}
    assert {name: described.get(name) for name in registered} == registered


def test_each_kind_needs_what_the_checks_ask_of_it() -> None:
    needs = table("kind | needs, beside " + _listed(REQUIRED) + " | what happened")
    expected: dict[str, set[Any]] = {
        kind: {*NEEDED_COLUMNS.get(kind, ()), *(["draft_id"] if kind in DRAFT_KINDS else [])} for kind in ALL_KINDS
    }
    assert needs == expected


def _listed(names: tuple[str, ...]) -> str:
    named = [f"`{name}`" for name in ("event_id", "kind", "occurred_at", "ticket_id")]
    assert set(names) == {name.strip("`") for name in named}
    return f"{', '.join(named[:-1])} and {named[-1]}"


def test_the_limits_are_those_of_the_code() -> None:
    for phrase in (
        f"deeper than {DEPTH_LIMIT} levels",
        f"longer than {LINE_LIMIT >> 20} MiB",
        f"more than {MOST_FAILING_LINES} lines",
        f"first {HEAD >> 10} KiB",
        f"before {EARLIEST}",
        *ROW_SUFFIXES,
        *(name for name in QUARANTINE_SCHEMA.names if name not in ("arrival_date", "source")),
    ):
        assert phrase in " ".join(TEXT.split()), phrase
