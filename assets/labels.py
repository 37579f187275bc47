"""`labels`: the policy's verdict on every interaction."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg

from assets.interactions import interactions
from assets.support.common import (
    DAYS,
    LAKE_POOL,
    OWNERS,
    DeskResource,
    column_schema,
    markdown_table,
    partition_days,
    picture,
)  # fmt: skip
from assets.support.label_chart import draw_labels
from assets.support.run_moment import moment_of_days
from feedback.labels.corrections import FlipRate, flip_rate
from feedback.labels.label_writer import WrittenLabels, write_labels
from feedback.labels.labels import summarise_labels
from feedback.labels.ledger import days_behind
from feedback.lake.delta import Lake
from feedback.lake.tables import LABELS
from label_policy import Policy

_MOST_FLIPS = 0.01


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

    A label is provisional until every signal that could still overturn it has had its time, and final after. A final
    label that changes all the same is in the `corrections` table, with the old label and the cause.
    """
    active, days = desk.active(), partition_days(context)
    moment = moment_of_days(context, active, days, ["interactions", "labels"])
    written = write_labels(active.lake, active.policy, days, as_of=moment, run_id=context.run.run_id)
    for key, metadata in day_metadata(active.lake, active.policy, days, written, moment).items():
        context.add_asset_metadata(metadata, partition_key=key)


def day_metadata(
    lake: Lake, policy: Policy, days: Sequence[date], written: WrittenLabels, as_of: datetime
) -> dict[str, dict[str, Any]]:
    """Return Dagster's metadata of each of the labelled `days`, by partition key."""
    of_run = {
        "policy": f"{policy.name} {policy.version}",
        "policy digest": policy.digest,
        "as of": as_of.isoformat(),
        "corrections in this run": written.corrections.num_rows,
    }
    by_day: dict[str, dict[str, Any]] = {day.isoformat(): {"dagster/partition_row_count": 0, **of_run} for day in days}
    counts = summarise_labels(written.rows, "shown_date", "label", "tier")
    for day, label, tier, count in counts:
        figures = by_day[day.isoformat()]
        figures["dagster/partition_row_count"] += count
        figures[f"{label}, {tier}" if tier else label] = count
    if counts:
        # On the newest day only: that is the one the asset's page shows, and a picture a day would fill the run store.
        flips = flip_rate(lake)
        by_day[max(day for day, *_ in counts).isoformat()] |= {
            "labels by day and tier": picture(draw_labels(counts), "labels by day and tier"),
            "labels by rule": markdown_table(
                ("label", "tier", "rule", "state", "rows"),
                summarise_labels(written.rows, "label", "tier", "rule", "state"),
            ),
            "corrections": markdown_table(
                ("cause", "label was", "rule was", "label is", "rule is", "rows"),
                summarise_labels(written.corrections, "cause", "was_label", "was_rule", "label", "rule"),
            ),
            "flip rate": flips["rate"],
            "flip rate by rule": _flips_by_rule(flips),
        }
    return by_day


@dg.asset_check(asset=labels)
def one_policy(desk: DeskResource) -> dg.AssetCheckResult:
    """By the ledger, the labels of every labelled day are those of the desk's policy as it reads now.

    Where days are behind, `feedback-kto policy plan` shows their changes, and `policy apply` makes them.
    """
    active = desk.active()
    behind, total = days_behind(active.lake, active.policy)
    policy = active.policy
    return dg.AssetCheckResult(
        passed=not behind,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(behind)} of {total} days behind {policy.name} v{policy.version}",
        metadata={
            "days behind": [day.isoformat() for day in behind],
            **({"what to do": "`feedback-kto policy plan`, then `feedback-kto policy apply`"} if behind else {}),
        },
    )


@dg.asset_check(asset=labels)
def few_flips(desk: DeskResource) -> dg.AssetCheckResult:
    """Later feedback overturned at most one in a hundred final labels of the policy that the days are labelled by."""
    flips = flip_rate(desk.active().lake)
    text = f"{flips['flipped']:,} of {flips['final']:,} final labels flipped by later feedback ({flips['rate']:.1%})"
    passed = flips["rate"] <= _MOST_FLIPS
    if not passed:
        rule, most = max(flips["by_rule"].items(), key=lambda item: item[1]["flipped"])
        text += (
            f", {most['flipped']:,} of them of rule {rule}, mostly to {next(iter(most['became']))}: "
            "its maturity window is too short; lengthen it in the policy"
        )
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=text,
        metadata={"flip rate": flips["rate"], "flip rate by rule": _flips_by_rule(flips)},
    )


def _flips_by_rule(flips: FlipRate) -> dg.MarkdownMetadataValue:
    return markdown_table(
        ("rule", "became final", "flipped", "share", "mostly to"),
        [
            (rule, part["final"], part["flipped"], f"{part['rate']:.1%}", next(iter(part["became"]), None))
            for rule, part in sorted(flips["by_rule"].items(), key=lambda item: -item[1]["flipped"])
        ],
    )
