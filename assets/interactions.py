"""`interactions`: one row a draft, with every signal about it."""

from datetime import date

import dagster as dg

from assets.feedback_events import feedback_events
from assets.support.common import DAYS, LAKE_POOL, LATE_DAYS, OWNERS, DeskResource, column_schema, partition_days
from assets.support.run_moment import moment_of_days
from feedback.labels.interactions import count_unplaced, write_interactions
from feedback.lake.tables import INTERACTIONS

_UNPLACED = {
    "drafts_outside": "{:,} drafts were shown outside the partitions: set first_day in desk.yaml earlier",
    "drafts_twice": "{:,} drafts have interactions on two days, since an earlier showing arrived later: run both again",
    "reactions_without_draft": "{:,} reactions are to drafts that were never logged, and do not count",
    "outcomes_without_draft": "{:,} ticket outcomes came before the ticket's first draft or on a ticket without one, "
    "and do not count",
}


@dg.asset(
    group_name="record",
    kinds={"deltalake", "duckdb"},
    owners=OWNERS["data"],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=LAKE_POOL,
    deps=[
        dg.AssetDep(
            feedback_events,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=0, end_offset=LATE_DAYS, allow_nonexistent_upstream_partitions=True
            ),
        )
    ],
    metadata=column_schema(INTERACTIONS.schema),
)
def interactions(context: dg.AssetExecutionContext, desk: DeskResource) -> None:
    """One row a draft shown that day: its prompt, its texts, every signal with its time, how it was edited.

    Only events received by the run's moment count, so that a past day can be rebuilt as it was; `evidence` holds the
    ids of the events that a row was made from.
    """
    active, days = desk.active(), partition_days(context)
    moment = moment_of_days(context, active, days, ["interactions"])
    rows = write_interactions(active.lake, days, as_of=moment, run_id=context.run.run_id)
    for day in rows.column("shown_date").value_counts().to_pylist():
        context.add_asset_metadata(
            {"dagster/partition_row_count": day["counts"]}, partition_key=day["values"].isoformat()
        )
    edits = rows.column("edit_kind").value_counts().to_pylist()
    context.add_asset_metadata(
        {
            "as of": moment.isoformat(),
            "drafts in this run": rows.num_rows,
            "decided by an agent": rows.num_rows - rows.column("decided_at").null_count,
            "edit kinds": {item["values"] or "not sent": item["counts"] for item in edits},
        }
    )


@dg.asset_check(asset=interactions)
def nothing_unplaced(desk: DeskResource) -> dg.AssetCheckResult:
    """No draft lies outside the partitions, and no signal is about a draft that was never logged."""
    active = desk.active()
    first = active.settings.first_day
    counts = count_unplaced(active.lake, first, date.fromisoformat(DAYS.get_last_partition_key() or str(first)))
    outside, twice = counts["drafts_outside"], counts["drafts_twice"]
    faults = "; ".join(sentence.format(counts[name]) for name, sentence in _UNPLACED.items() if counts[name])
    return dg.AssetCheckResult(
        passed=not any(counts.values()),
        severity=dg.AssetCheckSeverity.ERROR if outside or twice else dg.AssetCheckSeverity.WARN,
        description=faults or None,
        metadata=dict(counts),
    )
