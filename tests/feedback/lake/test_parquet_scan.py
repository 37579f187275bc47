from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from feedback.lake.delta import Lake, Table
from feedback.lake.parquet_scan import view_stored

DAYS = [date(2026, 3, day) for day in (1, 2, 3)]
COLUMNS = [("day", pa.date32()), ("label", pa.string()), ("n", pa.int64())]
COUNTS = Table(name="counts", schema=pa.schema(COLUMNS), partition_by=("day", "label"))
WIDER = Table(name="counts", schema=pa.schema([*COLUMNS, ("why", pa.string())]), partition_by=("day", "label"))


def rows(table: Table, *values: tuple[date, str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(("day", "label", "n"), value, strict=True)) for value in values], table.schema
    )


def seen(lake: Lake, table: Table, days: list[date] | None = None) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        view_stored(connection, lake, table, name="seen", days=days)
        return connection.execute("SELECT * FROM seen ORDER BY ALL").fetchall()


def test_a_table_is_seen_as_it_is_now_whatever_its_path_and_values(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "a lake, où")
    assert seen(lake, COUNTS) == []
    values = [(DAYS[0], "a", 1), (DAYS[1], "b c", 2), (DAYS[1], "d/e%", 3)]
    lake.replace(COUNTS, rows(COUNTS, *values), DAYS)
    lake.replace(COUNTS, rows(COUNTS, (DAYS[2], "a", 5)), DAYS[2:])
    assert seen(lake, COUNTS) == [*values, (DAYS[2], "a", 5)]
    assert [row[2] for row in seen(lake, COUNTS, DAYS[1:2])] == [2, 3]
    assert seen(lake, COUNTS, [date(2020, 1, 1)]) == []
    lake.replace(COUNTS, rows(COUNTS), DAYS)
    assert seen(lake, COUNTS) == []


def test_a_column_that_came_later_is_null_in_older_rows(lake: Lake) -> None:
    lake.replace(COUNTS, rows(COUNTS, (DAYS[0], "a", 1)), DAYS)
    assert seen(lake, WIDER) == [(DAYS[0], "a", 1, None)]
    lake.replace(WIDER, rows(WIDER, (DAYS[1], "a", 2)).set_column(3, "why", [["because"]]), DAYS[1:2])
    assert [row[3] for row in seen(lake, WIDER)] == [None, "because"]
