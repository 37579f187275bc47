"""Measure what validation costs: a lake's events by our rules, by bare DuckDB counts, and by GX over every row.

    python -m benchmarks.validation [--events 1000000] [--days 30] [--rounds 5]

All three read the same days of the same Delta table, in turns in one process after a warm-up round. They are asserted
to judge the same number of rows and to find none of them wrong.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from feedback.lake.delta import Lake
from feedback.lake.event_schema import ALL_KINDS, DRAFT_KINDS, EVENT_SCHEMA
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import EVENTS
from feedback.validation import SUITES, validate_days
from feedback.validation.expectations import validate
from feedback.validation.frames import table_frames

FIRST = date(2026, 3, 2)
_COMPLETE = """CASE kind
    WHEN 'draft_shown' THEN prompt IS NOT NULL AND completion IS NOT NULL
    WHEN 'preference' THEN prompt IS NOT NULL AND completion IS NOT NULL AND final_text IS NOT NULL
    WHEN 'surveyed' THEN score IS NOT NULL ELSE true END"""
_FLAGS = f"""
    coalesce(event_id, '') <> '' AND coalesce(ticket_id, '') <> '' AS ids_given,
    coalesce(draft_id, '') <> '' OR kind NOT IN $draft_kinds AS draft_named,
    {_COMPLETE} AS complete,
    coalesce(score BETWEEN 0 AND 1, true) AS score_in_range,
    greatest(0, CAST(occurred_at AS DATE) - arrival_date) AS days_ahead
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    started = time.perf_counter()
    validate(SUITES["labels"], table_frames(Lake(Path("nowhere")), "labels", [FIRST]))
    sys.stdout.write(
        f"loading Great Expectations and a first validation without rows: {time.perf_counter() - started:.1f} s\n"
    )
    with TemporaryDirectory(prefix="validation-") as folder:
        lake, docs = Lake(Path(folder) / "lake"), Path(folder) / "data_docs"
        days = [FIRST + timedelta(days=number) for number in range(options.days)]
        write_events(lake, days, options.events)
        contestants: dict[str, Callable[[], int]] = {
            "feedback-kto: frames, rules, Data Docs, journal": lambda: by_us(lake, days, docs),
            "of that, the frames (DuckDB)": lambda: by_frames(lake, days),
            "bare DuckDB, the same counts": lambda: by_duckdb(lake, days),
            "GX over every row (pandas on Arrow), six row rules": lambda: by_rows(lake, days),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for turn in range(options.rounds + 1):
            for name, contestant in contestants.items():
                wall, processor = time.perf_counter(), time.process_time()
                rows = contestant()
                if turn:
                    taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
                if rows != options.events:
                    raise SystemExit(f"{name} judged {rows:,} events of {options.events:,}")
    bare = statistics.median(wall for wall, _ in taken["bare DuckDB, the same counts"])
    sys.stdout.write(
        f"{options.events:,} events of {options.days} days; "
        f"medians of {options.rounds} rounds, {os.cpu_count()} cores\n"
    )
    for name, times in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
        sys.stdout.write(f"{name:<52}{wall:7.2f} s{processor:8.2f} s of processor{wall / bare:7.2f} ×\n")


def write_events(lake: Lake, days: list[date], events: int) -> None:
    """Write a sound desk's events: drafts shown, reactions and outcomes, a third each, with texts of 200 letters."""
    per_day = events // len(days)
    with duckdb.connect() as connection:
        for number, day in enumerate(days):
            count = per_day + (events % len(days) if number == 0 else 0)
            rows = connection.sql(
                f"""
                SELECT 'event-' || md5('{day}' || i) AS event_id,
                    CASE i % 3 WHEN 0 THEN 'draft_shown' WHEN 2 THEN 'resolved'
                        ELSE ['accepted', 'edited', 'thumbs_up', 'thumbs_down'][1 + i // 3 % 4] END AS kind,
                    TIMESTAMPTZ '{day} 08:00:00+00' + to_seconds(i % 40000) AS occurred_at, occurred_at AS received_at,
                    'ticket-{day}-' || i // 3 AS ticket_id,
                    CASE WHEN i % 3 < 2 THEN 'draft-{day}-' || i // 3 END AS draft_id, 'ann' AS agent_id,
                    CASE WHEN i % 3 = 0 THEN [{{'role': 'user', 'content': repeat(md5('p' || i), 6)}}] END AS prompt,
                    CASE WHEN i % 3 = 0 THEN repeat(md5('c' || i), 6) END AS completion,
                    NULL AS final_text, NULL AS reasons, NULL AS score, 'billing' AS category, 'v1' AS model_version,
                    'bench' AS source, NULL AS extra, DATE '{day}' AS arrival_date, 'log' AS file, i AS line
                FROM range({count}) AS r(i)
                """
            ).to_arrow_table()
            lake.replace(EVENTS, rows.cast(EVENT_SCHEMA), [day])


def by_us(lake: Lake, days: list[date], docs: Path) -> int:
    validation = validate_days(lake, "feedback_events", days, docs=docs, run_id="benchmark")
    if any(not outcome.passed for outcome in validation.outcomes):
        raise SystemExit("a rule fails on sound events")
    return validation.outcomes[0].checked


def by_frames(lake: Lake, days: list[date]) -> int:
    return sum(table_frames(lake, "feedback_events", days)["rows"].column("rows").to_pylist())


def by_duckdb(lake: Lake, days: list[date]) -> int:
    """Count by hand: wrong rows by rule, repeated ids, and events by day, source and kind."""
    with lake.sql() as connection:
        view_stored(connection, lake, EVENTS, days=days)
        [(rows, *wrong)] = connection.execute(
            f"""
            WITH flagged AS (SELECT kind, {_FLAGS} FROM events)
            SELECT count(*), count(*) FILTER (kind NOT IN $kinds), count(*) FILTER (NOT ids_given),
                count(*) FILTER (NOT draft_named), count(*) FILTER (NOT complete), count(*) FILTER (NOT score_in_range),
                count(*) FILTER (days_ahead > 1)
            FROM flagged
            """,
            {"kinds": sorted(ALL_KINDS), "draft_kinds": sorted(DRAFT_KINDS)},
        ).fetchall()
        [(twice,)] = connection.execute("SELECT count(*) - count(DISTINCT event_id) FROM events").fetchall()
        connection.execute("SELECT arrival_date, source, kind, count(*) FROM events GROUP BY ALL").fetchall()
    if any(wrong) or twice:
        raise SystemExit("a count finds wrong rows among sound events")
    return int(rows)


def by_rows(lake: Lake, days: list[date]) -> int:
    """Validate the row rules by GX on a frame of one row an event, without the texts."""
    import great_expectations.expectations as gxe
    import pandas as pd
    from great_expectations import ExpectationSuite

    from feedback.validation.expectations import _whole_frame

    with lake.sql() as connection:
        view_stored(connection, lake, EVENTS, days=days)
        frame = connection.sql(
            f"SELECT CAST(arrival_date AS VARCHAR) AS day, kind, source, {_FLAGS} FROM events",
            params={"draft_kinds": sorted(DRAFT_KINDS)},
        ).to_arrow_table()
    rules = [rule for rule in SUITES["feedback_events"].rules if rule.frame == "rows"]
    batch = _whole_frame("benchmark", "rows").get_batch({"dataframe": frame.to_pandas(types_mapper=pd.ArrowDtype)})
    expectations = [getattr(gxe, rule.expectation)(column=rule.column, **rule.arguments) for rule in rules]
    result = batch.validate(ExpectationSuite(name="rows", expectations=expectations), result_format="SUMMARY")
    if not result.success:
        raise SystemExit("a rule fails on sound events")
    return int(result.results[0].result["element_count"])


if __name__ == "__main__":
    main()
