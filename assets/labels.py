"""`labels`: the policy's verdict on every interaction."""

import dagster as dg

from assets.charts import draw_labels
from assets.common import (
    DAYS,
    LAKE_POOL,
    OWNERS,
    DeskResource,
    column_schema,
    markdown_table,
    moment_of,
    partition_days,
    picture,
)  # fmt: skip
from assets.interactions import interactions
from feedback.labels import days_behind, summarise_labels, write_labels
from feedback.tables import LABELS


@dg.asset(
    group_name="labels",
    kinds={"deltalake", "duckdb"},
    owners=OWNERS["policy"],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=LAKE_POOL,
    deps=[interactions],
    metadata=column_schema(LABELS.schema),
)
def labels(context: dg.AssetExecutionContext, desk: DeskResource) -> None:
    """Each draft's label, tier, weight and the rule that decided, by the desk's label policy.

    A label is provisional until every signal that could still overturn it has had its time, and final after.
    """
    active = desk.active()
    moment, days = moment_of(context, active), partition_days(context)
    rows = write_labels(active.lake, active.policy, days, as_of=moment)
    by_day: dict[str, dict[str, int]] = {}
    for day, label, tier, count in summarise_labels(rows, "shown_date", "label", "tier"):
        figures = by_day.setdefault(day.isoformat(), {"dagster/partition_row_count": 0})
        figures["dagster/partition_row_count"] += count
        figures[f"{label}, {tier}" if tier else label] = count
    for key, figures in by_day.items():
        context.add_asset_metadata(figures, partition_key=key)
    if by_day:
        # On the newest day only: that is the one the asset's page shows, and a picture a day would fill the run store.
        chart = draw_labels(summarise_labels(rows, "shown_date", "label", "tier"))
        context.add_asset_metadata(
            {
                "labels by day and tier": picture(chart, "labels by day and tier"),
                "labels by rule": markdown_table(
                    ("label", "tier", "rule", "state", "rows"),
                    summarise_labels(rows, "label", "tier", "rule", "state"),
                ),
            },
            partition_key=max(by_day),
        )
    policy = active.policy
    context.add_asset_metadata(
        {
            "policy": f"{policy.name} {policy.version}",
            "policy digest": policy.digest,
            "as of": moment.isoformat(),
        }
    )


@dg.asset_check(asset=labels)
def one_policy(desk: DeskResource) -> dg.AssetCheckResult:
    """Every labelled day was labelled by the desk's policy as it reads now."""
    active = desk.active()
    behind, total = days_behind(active.lake, active.policy)
    policy = active.policy
    return dg.AssetCheckResult(
        passed=not behind,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(behind)} of {total} days behind {policy.name} {policy.version}",
        metadata={"days behind": [day.isoformat() for day in behind]},
    )
