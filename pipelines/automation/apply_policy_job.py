"""The job behind `feedback-kto policy apply`: one run that relabels only the days that a policy changes.

An asset job covers a range of days without gaps, and the days that change are seldom one. So the work is an op, which
reports each day of `labels` that it wrote with the asset's own metadata.
"""

from typing import cast

import dagster as dg
from pydantic import Field

from assets.labels import day_metadata, one_policy
from assets.support.common import LAKE_POOL, DeskResource, moment_of
from assets.support.stages import APPLY_STEP
from desk.desk import policy_path
from desk.settings_edit import name_policy
from feedback.policy_changes.apply import apply_plan, check_plan, confirm_applied
from feedback.policy_changes.backfill_plan import plan_change
from label_policy import load_policy


class ApplyPolicy(dg.Config):
    """The plan to apply, and its policy."""

    plan: str = Field(description="the id of the plan of the stored labels; refused if the plan is another by now")
    policy: str = Field(description="the new policy, as desk.yaml would name it: a shipped one, or a YAML file")


@dg.op(name=APPLY_STEP, pool=LAKE_POOL)
def relabel_changed_days(context: dg.OpExecutionContext, config: ApplyPolicy, desk: DeskResource) -> None:
    """Make the policy the desk's, relabel the days that change, and compare the changes with the plan.

    The other days are recorded as confirmed by the new policy, so that no day is behind it afterwards.
    """
    active = desk.active()
    policy = load_policy(policy_path(config.policy))
    plan = plan_change(active.lake, policy, as_of=moment_of(cast("dg.AssetExecutionContext", context), active))
    check_plan(plan, config.plan)
    # Before the labels, so that no other run labels by the old policy what this one has labelled by the new.
    name_policy(active, config.policy)
    applied = apply_plan(active.lake, policy, plan, run_id=context.run_id)
    for day, metadata in day_metadata(active.lake, policy, applied.days, applied.written, plan.as_of).items():
        context.log_event(dg.AssetMaterialization("labels", partition=day, metadata=metadata))
    confirmed = confirm_applied(active.lake, policy, plan, run_id=context.run_id)
    result = cast("dg.AssetCheckResult", one_policy(desk))
    context.log_event(
        dg.AssetCheckEvaluation(  # type: ignore[arg-type]  # an op may report it, though the signature does not say so
            asset_key=dg.AssetKey("labels"),
            check_name=one_policy.check_key.name,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )
    )
    context.log.info(
        f"{plan.changed:,} labels on {len(plan.days):,} days changed as planned; {len(confirmed):,} days "
        f"confirmed and {len(applied.days) - len(plan.days):,} labelled again without a change"
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Make a policy the desk's and relabel only the days that it changes, as `policy plan` printed.",
)
def apply_policy() -> None:
    """One op; see `relabel_changed_days`."""
    relabel_changed_days()
