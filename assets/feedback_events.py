"""`feedback_events`: the raw log files of an arrival day, as events."""

import dagster as dg

from assets.support.common import (
    DAYS,
    LAKE_POOL,
    OWNERS,
    DeskResource,
    column_schema,
    markdown_table,
    moment_of,
    partition_days,
)
from feedback.ingest.ingestion import ingest, unbalanced_files
from feedback.labels.stale_partitions import touched_days
from feedback.lake.tables import EVENTS, FILES
from feedback.sources.raw_files import discover
from training_worker.progress_lines import log_progress

_COUNTS = ("lines", "mapped", "ignored", "quarantined", "events", "duplicates")


@dg.asset(
    group_name="record",
    kinds={"deltalake", "duckdb"},
    owners=OWNERS["data"],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=LAKE_POOL,
    metadata=column_schema(EVENTS.schema),
)
def feedback_events(context: dg.AssetExecutionContext, desk: DeskResource) -> None:
    """Raw log lines of an arrival day as events, by the desk's SQL mapping.

    A line that does not parse or does not fit is in the `quarantine` table with its file, line and reason; the `files`
    table keeps the books. "Touched days" are those whose interactions or labels lack some of the events that are at
    hand now, by this run or another: the sensor late_feedback requests them.
    """
    active = desk.active()
    days = partition_days(context)
    books = ingest(
        active.lake,
        active.source,
        discover(active.settings.input, active.source),
        days,
        input_root=active.settings.input,
        report=log_progress(context.log.info),
    )
    by_day = books.group_by("arrival_date").aggregate([(name, "sum") for name in _COUNTS])
    for row in by_day.to_pylist():
        figures = {name: row[f"{name}_sum"] for name in _COUNTS}
        context.add_asset_metadata(
            {"dagster/partition_row_count": figures["events"], **figures},
            partition_key=row["arrival_date"].isoformat(),
        )
    touched = [day.isoformat() for day in touched_days(active.lake, as_of=moment_of(context, active))]
    context.add_asset_metadata({"files in this run": books.num_rows, "days touched": len(touched)})
    # On the newest day only: that is the one the asset's page shows, and a list on every day would fill the run store.
    context.add_asset_metadata({"touched days": dg.MetadataValue.json(touched)}, partition_key=max(days).isoformat())


@dg.asset_check(asset=feedback_events, blocking=True)
def books_balance(desk: DeskResource) -> dg.AssetCheckResult:
    """Each raw line has one fate (lines = mapped + ignored + quarantined), and the tables hold what the books say."""
    lake = desk.active().lake
    off = unbalanced_files(lake)
    with lake.sql(FILES) as connection:
        [(lines, quarantined)] = connection.execute("SELECT sum(lines), sum(quarantined) FROM files").fetchall()
    return dg.AssetCheckResult(
        passed=not off,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"the books of {len(off)} files do not balance, {off[0]} first; ingest their days again"
        if off
        else None,
        metadata={"lines": int(lines or 0), "quarantined": int(quarantined or 0), "files off": off[:20]},
    )


@dg.asset_check(asset=feedback_events)
def all_files_complete(desk: DeskResource) -> dg.AssetCheckResult:
    """Every raw file could be read to its end: none is cut off, damaged or without a header that can be read."""
    with desk.active().lake.sql(FILES) as connection:
        files = connection.execute(
            "SELECT file, lines, incomplete_reason FROM files WHERE NOT complete ORDER BY arrival_date, file"
        ).fetchall()
    named = ", ".join(f"{file} ({reason})" for file, _, reason in files[:3])
    more = f" and {len(files) - 3:,} more" if len(files) > 3 else ""
    return dg.AssetCheckResult(
        passed=not files,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"not read to the end: {named}{more}; replace them with complete files and run their days again"
        if files
        else None,
        metadata={"files": markdown_table(("file", "lines read", "reason"), files[:100])} if files else {},
    )


@dg.asset_check(asset=feedback_events)
def most_lines_fit(desk: DeskResource) -> dg.AssetCheckResult:
    """No arrival day has more than one line in twenty in quarantine."""
    with desk.active().lake.sql(FILES) as connection:
        days = connection.execute(
            "SELECT arrival_date, sum(quarantined), sum(lines) FROM files GROUP BY 1"
            " HAVING sum(quarantined) > 0.05 * sum(lines) ORDER BY sum(quarantined) / sum(lines) DESC"
        ).fetchall()
    worst = f"{days[0][1]} of {days[0][2]} lines of {days[0][0]} are in quarantine" if days else None
    return dg.AssetCheckResult(
        passed=not days,
        severity=dg.AssetCheckSeverity.WARN,
        description=worst and f"{worst}; `feedback-kto source check` says why",
        metadata={"days": [str(day) for day, _, _ in days]},
    )
