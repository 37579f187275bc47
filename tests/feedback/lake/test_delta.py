from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake, Table
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import LABELS

DAYS = [date(2026, 3, day) for day in (1, 2, 3)]
COUNTS = Table(
    name="counts",
    schema=pa.schema([("day", pa.date32()), ("label", pa.string()), ("n", pa.int64())]),
    partition_by=("day", "label"),
)


def rows(*values: tuple[date, str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(("day", "label", "n"), value, strict=True)) for value in values], COUNTS.schema
    )


def stored(lake: Lake, version: int | None = None) -> list[tuple[date, int]]:
    table = lake.dataset(COUNTS, version=version).to_table()
    return sorted(zip(table.column("day").to_pylist(), table.column("n").to_pylist(), strict=True))


def test_a_table_never_written_is_empty(lake: Lake) -> None:
    assert stored(lake) == []
    assert lake.version(COUNTS) is None


def test_replacing_days_leaves_the_others_and_empties_days_without_rows(lake: Lake) -> None:
    first = lake.replace(COUNTS, rows((DAYS[0], "a", 1), (DAYS[1], "a", 2), (DAYS[2], "b", 3)), DAYS)
    second = lake.replace(COUNTS, rows((DAYS[1], "b", 20)), DAYS[1:])
    assert stored(lake) == [(DAYS[0], 1), (DAYS[1], 20)]
    assert second == first + 1, "one commit"
    assert stored(lake, first) == [(DAYS[0], 1), (DAYS[1], 2), (DAYS[2], 3)], "an old version can be read"


def test_rows_of_a_day_that_was_not_asked_for_are_refused(lake: Lake) -> None:
    with pytest.raises(ValueError, match="2026, 3, 3"):
        lake.replace(COUNTS, rows((DAYS[2], "a", 1)), DAYS[:2])
    assert stored(lake) == []


def test_duckdb_sees_a_table_by_its_name_in_utc(lake: Lake) -> None:
    lake.replace(COUNTS, rows((DAYS[0], "a", 1)), DAYS)
    with lake.sql(COUNTS) as connection:
        assert connection.execute("SELECT sum(n), current_setting('TimeZone') FROM counts").fetchall() == [(1, "UTC")]


def test_a_damaged_log_is_one_sentence_that_names_the_table(lake: Lake) -> None:
    lake.replace(COUNTS, rows((DAYS[0], "a", 1)), DAYS)
    for commit in (lake.path(COUNTS) / "_delta_log").glob("*.json"):
        commit.write_text("{not json")
    with pytest.raises(FeedbackError, match="counts cannot be read as a Delta table"):
        lake.dataset(COUNTS)


def test_what_is_written_in_parts_is_seen_at_once_or_not_at_all(lake: Lake) -> None:
    first = lake.replace(COUNTS, rows((DAYS[0], "a", 1), (DAYS[1], "a", 2)), DAYS)
    with lake.replacing(COUNTS, DAYS[:2]) as replacement:
        replacement.write(rows((DAYS[1], "b", 20)))
        replacement.write(rows((DAYS[1], "b", 21), (DAYS[0], "b", 10)))
        assert stored(lake) == [(DAYS[0], 1), (DAYS[1], 2)]
    assert stored(lake) == [(DAYS[0], 10), (DAYS[1], 20), (DAYS[1], 21)]
    assert lake.version(COUNTS) == first + 1

    files = set(lake.path(COUNTS).rglob("*.parquet"))
    with pytest.raises(RuntimeError, match="power cut"), lake.replacing(COUNTS, DAYS) as replacement:
        replacement.write(rows((DAYS[2], "a", 30)))
        raise RuntimeError("power cut")
    assert stored(lake) == [(DAYS[0], 10), (DAYS[1], 20), (DAYS[1], 21)]
    assert set(lake.path(COUNTS).rglob("*.parquet")) == files, "nothing is left behind"


def test_writers_of_different_days_do_not_hinder_each_other(lake: Lake) -> None:
    days = [date(2026, 3, day) for day in range(1, 5)]
    lake.replace(COUNTS, rows(*((day, "a", 0) for day in days)), days)

    def rewrite(day: date) -> None:
        for n in range(1, 6):
            lake.replace(COUNTS, rows((day, "a", n)), [day])

    with ThreadPoolExecutor(len(days)) as pool:
        list(pool.map(rewrite, days))
    assert stored(lake) == [(day, 5) for day in days]


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def spoil_the_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:40] = b"\xff" * 36  # after the magic number, and before the footer
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, cut_short, spoil_the_middle])
def test_a_damaged_file_is_one_sentence_that_names_table_and_file(lake: Lake, damage: Callable[[Path], None]) -> None:
    lake.replace(COUNTS, rows((DAYS[0], "a", 1), (DAYS[1], "b", 2)), DAYS)
    [file] = lake.path(COUNTS).glob("day=2026-03-02/label=b/*.parquet")
    damage(file)
    message = f"^counts: {file} is damaged or missing; restore it from a copy$"
    with pytest.raises(FeedbackError, match=message), lake.sql(COUNTS) as connection:
        connection.execute("SELECT sum(n) FROM counts").fetchall()
    with pytest.raises(FeedbackError, match=message), lake.sql() as connection:
        view_stored(connection, lake, COUNTS)
        connection.execute("SELECT sum(n) FROM counts").fetchall()


def test_a_table_that_can_be_made_again_is_said_to_be(lake: Lake) -> None:
    row = {"shown_date": DAYS[0], "label": "abstain"}
    lake.replace(LABELS, pa.Table.from_pylist([row], LABELS.schema), DAYS)
    [file] = lake.path(LABELS).glob("*/*/*.parquet")
    file.unlink()
    message = rf"or remove the folder {lake.path(LABELS)} and run `feedback-kto relabel` to build it again"
    with pytest.raises(FeedbackError, match=message), lake.sql(LABELS) as connection:
        connection.execute("SELECT count(draft_id) FROM labels").fetchall()


def test_an_error_that_no_file_is_to_blame_for_stays_what_it_is(lake: Lake) -> None:
    lake.replace(COUNTS, rows((DAYS[0], "a", 1)), DAYS)
    with pytest.raises(duckdb.IOException), lake.sql(COUNTS) as connection:
        connection.execute("FROM read_parquet('/nowhere.parquet')")
