import gzip
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard

from feedback.exceptions import FeedbackError
from feedback.ingest.ingestion import ingest, unbalanced_files
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, FILES, QUARANTINE
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source

DAYS = [date(2026, 3, day) for day in (2, 3, 4)]


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[..., Path]:
    """`write_log(day, *lines)`: a file of events (dicts) or raw lines (text) that arrived that day."""

    def write(day: date, *lines: dict[str, Any] | str, name: str = "log") -> Path:
        path = tmp_path / "raw" / f"{name}-{day}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path.parent

    return write


def accept(event_id: str, day: date) -> dict[str, Any]:
    return {
        "event_id": event_id, "kind": "accepted", "occurred_at": f"{day}T10:00:00Z", "ticket_id": "t", "draft_id": "d",
    }  # fmt: skip


def run(lake: Lake, folder: Path, days: list[date] = DAYS) -> dict[str, dict[str, int]]:
    source = load_source("canonical")
    books = ingest(lake, source, discover(folder, source), days, input_root=folder)
    names = ("lines", "mapped", "ignored", "quarantined", "events", "duplicates")
    return {row["file"]: {name: row[name] for name in names if row[name]} for row in books.to_pylist()}


def stored(lake: Lake) -> list[tuple[date, str]]:
    table = lake.dataset(EVENTS).to_table()
    return sorted(zip(table["arrival_date"].to_pylist(), table["event_id"].to_pylist(), strict=True))


def test_the_first_delivery_is_kept_and_later_ones_are_counted(lake: Lake, write_log: Callable) -> None:
    write_log(DAYS[0], accept("a", DAYS[0]), accept("a", DAYS[0]), accept("b", DAYS[0]))
    folder = write_log(DAYS[1], accept("b", DAYS[0]), accept("c", DAYS[1]), "not json")
    assert run(lake, folder) == {
        "log-2026-03-02.jsonl": {"lines": 3, "mapped": 3, "events": 2, "duplicates": 1},
        "log-2026-03-03.jsonl": {"lines": 3, "mapped": 2, "quarantined": 1, "events": 1, "duplicates": 1},
    }
    assert stored(lake) == [(DAYS[0], "a"), (DAYS[0], "b"), (DAYS[1], "c")]


def test_days_ingested_one_by_one_give_what_one_run_gives(lake: Lake, write_log: Callable, tmp_path: Path) -> None:
    write_log(DAYS[0], accept("a", DAYS[0]))
    write_log(DAYS[1], accept("a", DAYS[0]), accept("b", DAYS[1]))
    folder = write_log(DAYS[2], accept("b", DAYS[1]), accept("a", DAYS[0]))
    for day in DAYS:
        run(lake, folder, [day])
    at_once = Lake(tmp_path / "at once")
    run(at_once, folder)
    assert stored(lake) == stored(at_once)
    for table in (FILES, EVENTS):
        rows = [
            sorted(each.dataset(table).to_table().to_pylist(), key=lambda row: (row["file"], str(row.get("event_id"))))
            for each in (lake, at_once)
        ]
        assert rows[0] == rows[1]


def test_days_written_in_several_parts_give_what_one_part_gives(
    lake: Lake, write_log: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [date(2026, 3, day) for day in range(2, 9)]
    for n, day in enumerate(days):
        # Each event is delivered again on the next two days, and one of them twice on a day.
        numbers = [n, n - 1, n - 2, n]
        folder = write_log(day, *(accept(f"e{number}", day) for number in numbers), "{", name="x")
    whole = run(lake, folder, days)
    monkeypatch.setattr("feedback.ingest.ingestion._BATCH_BYTES", 1)
    in_parts = Lake(tmp_path / "in parts")
    assert run(in_parts, folder, days) == whole
    assert stored(in_parts) == stored(lake)
    assert lake.version(EVENTS) == in_parts.version(EVENTS) == 1, "one commit, after the one that made the table"


def test_a_day_ingested_again_changes_nothing(lake: Lake, write_log: Callable) -> None:
    write_log(DAYS[0], accept("a", DAYS[0]), "{")
    folder = write_log(DAYS[1], accept("a", DAYS[0]), accept("b", DAYS[1]))
    first, before = run(lake, folder), stored(lake)
    assert run(lake, folder) == first
    assert run(lake, folder, [DAYS[0]]) == {name: book for name, book in first.items() if "03-02" in name}
    assert stored(lake) == before
    assert lake.dataset(QUARANTINE).to_table().num_rows == 1


def test_logs_rotated_away_leave_what_they_gave(lake: Lake, write_log: Callable) -> None:
    write_log(DAYS[0], accept("a", DAYS[0]), "not json")
    write_log(DAYS[1], accept("b", DAYS[1]), name="morning")
    folder = write_log(DAYS[1], accept("c", DAYS[1]), name="evening")
    run(lake, folder)
    before = stored(lake)
    for gone in (f"log-{DAYS[0]}.jsonl", f"morning-{DAYS[1]}.jsonl"):
        (folder / gone).unlink()
    write_log(DAYS[1], accept("b", DAYS[1]), accept("d", DAYS[1]), name="night")
    assert run(lake, folder) == {
        "evening-2026-03-03.jsonl": {"lines": 1, "mapped": 1, "events": 1},
        "night-2026-03-03.jsonl": {"lines": 2, "mapped": 2, "events": 1, "duplicates": 1},
    }
    assert stored(lake) == sorted([*before, (DAYS[1], "d")])
    assert lake.dataset(FILES).to_table().num_rows == 4
    assert lake.dataset(QUARANTINE).to_table().num_rows == 1


def compress(log: Path) -> None:
    log.with_suffix(".jsonl.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()


def move(log: Path) -> None:
    (log.parent / "old").mkdir()
    log.rename(log.parent / "old" / log.name)


def copy_first(log: Path) -> None:
    """For a while both files exist, and both are ingested."""
    log.with_suffix(".jsonl.zst").write_bytes(zstandard.compress(log.read_bytes()))
    run(Lake(log.parents[2] / "lake"), log.parent)
    log.unlink()


@pytest.mark.parametrize("rotate", [compress, move, copy_first])
def test_a_log_that_was_renamed_is_read_again_and_not_kept_twice(
    lake: Lake, write_log: Callable, rotate: Callable[[Path], None]
) -> None:
    write_log(DAYS[0], accept("gone", DAYS[0]), name="gone")
    folder = write_log(DAYS[0], accept("a", DAYS[0]), accept("b", DAYS[0]), "not json")
    run(lake, folder)
    (folder / f"gone-{DAYS[0]}.jsonl").unlink()
    rotate(folder / f"log-{DAYS[0]}.jsonl")
    # The mapping has been corrected since, so the present log decides its events.
    mended = folder.parent / "mended.sql"
    mended.write_text(f"SELECT * REPLACE ('mended' AS agent_id) FROM ({load_source('canonical').sql})")
    source = load_source(mended)
    [book] = ingest(lake, source, discover(folder, source), DAYS, input_root=folder).to_pylist()
    assert (book["lines"], book["events"], book["duplicates"], book["quarantined"]) == (3, 2, 0, 1)
    events = lake.dataset(EVENTS).to_table().to_pylist()
    assert sorted((event["event_id"], event["agent_id"], event["file"]) for event in events) == [
        ("a", "mended", book["file"]), ("b", "mended", book["file"]), ("gone", None, f"gone-{DAYS[0]}.jsonl"),
    ]  # fmt: skip
    assert lake.dataset(FILES).to_table().num_rows == 2
    assert lake.dataset(QUARANTINE).to_table().num_rows == 1
    assert unbalanced_files(lake) == []


def test_an_empty_file_under_a_name_of_old_takes_the_place_of_what_that_gave(lake: Lake, write_log: Callable) -> None:
    folder = write_log(DAYS[0], accept("a", DAYS[0]), "not json", name="morning")
    run(lake, folder)
    (folder / f"morning-{DAYS[0]}.jsonl").unlink()
    write_log(DAYS[0], accept("a", DAYS[0]), accept("b", DAYS[0]), "not json", name="merged")
    assert run(lake, folder)[f"merged-{DAYS[0]}.jsonl"]["duplicates"] == 1
    write_log(DAYS[0], name="morning")
    assert run(lake, folder)[f"merged-{DAYS[0]}.jsonl"] == {"lines": 3, "mapped": 2, "events": 2, "quarantined": 1}
    assert unbalanced_files(lake) == []


def test_progress_counts_files(lake: Lake, write_log: Callable) -> None:
    write_log(DAYS[0], accept("a", DAYS[0]))
    folder = write_log(DAYS[1], accept("b", DAYS[1]), accept("c", DAYS[1]))
    reports: list[tuple[int, int, float]] = []
    source = load_source("canonical")
    ingest(
        lake, source, discover(folder, source), DAYS, input_root=folder,
        report=lambda stage, done, total, unit, **figures: reports.append((done, total, figures["lines"])),
    )  # fmt: skip
    assert reports == [(1, 2, 1), (2, 2, 3)]


def test_what_is_stored_says_where_it_came_from(lake: Lake, write_log: Callable) -> None:
    run(lake, write_log(DAYS[0], "", accept("a", DAYS[0]), name="desk"))
    [event] = lake.dataset(EVENTS).to_table().to_pylist()
    assert (event["file"], event["line"], event["source"]) == ("desk-2026-03-02.jsonl", 2, "canonical")
    assert pa.types.is_timestamp(lake.dataset(EVENTS).schema.field("occurred_at").type)


def test_books_that_the_tables_contradict_are_named(lake: Lake, write_log: Callable) -> None:
    write_log(DAYS[0], accept("a", DAYS[0]), "not json")
    folder = write_log(DAYS[1], accept("b", DAYS[1]))
    run(lake, folder)
    assert unbalanced_files(lake) == []
    lake.replace(EVENTS, EVENTS.schema.empty_table(), [DAYS[1]])
    lake.replace(QUARANTINE, QUARANTINE.schema.empty_table(), [DAYS[0]])
    assert unbalanced_files(lake) == [f"log-{DAYS[0]}.jsonl", f"log-{DAYS[1]}.jsonl"]
    run(lake, folder)
    assert unbalanced_files(lake) == []


def test_a_mapping_gone_wrong_does_not_empty_the_lake(lake: Lake, write_log: Callable) -> None:
    folder = write_log(DAYS[0], accept("a", DAYS[0]))
    run(lake, folder)
    write_log(DAYS[0], {"id": "a"})
    with pytest.raises(FeedbackError, match=r"no line maps now on days that gave 1 events before .* line 1"):
        run(lake, folder)
    assert stored(lake) == [(DAYS[0], "a")]


def test_lines_that_never_mapped_are_quarantined_and_the_run_goes_on(lake: Lake, write_log: Callable) -> None:
    assert run(lake, write_log(DAYS[0], "not json")) == {"log-2026-03-02.jsonl": {"lines": 1, "quarantined": 1}}
