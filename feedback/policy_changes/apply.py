"""Apply a plan: label the days that change again, and compare the changes with the planned ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from feedback.exceptions import FeedbackError
from feedback.labels.label_writer import WrittenLabels, write_labels
from feedback.labels.labels import PART_SCHEMA
from feedback.labels.ledger import append_entries, days_behind, unrecorded_days
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import spilling, view_stored
from feedback.lake.tables import CORRECTIONS, INTERACTIONS, LABELS
from feedback.policy_changes.backfill_plan import Plan, comparing, plan_id
from label_policy import Policy
from label_policy.checks.label_diff import Comparison

_ID = re.compile(r"i(?P<interactions>\d+)(-l(?P<labels>\d+))?-[0-9a-f]{16}")
_AGAIN = "run `feedback-kto policy plan` again"
_KEY = "shown_date, draft_id"
_NOTHING = WrittenLabels(rows=PART_SCHEMA.empty_table(), corrections=CORRECTIONS.schema.empty_table())


@dataclass(frozen=True, kw_only=True)
class Applied:
    """The result of applying a plan.

    Attributes:
        days: the days that were labelled again: those that change, and those without a ledger entry.
        written: all labels of those days, and the corrections.

    """

    days: list[date]
    written: WrittenLabels


def check_plan(plan: Plan, reviewed: str) -> None:
    """Refuse a plan that has changed since a person reviewed it.

    Args:
        plan: the new plan, of the stored labels.
        reviewed: the id of the plan that a person reviewed.

    Raises:
        FeedbackError: the two plans differ; the message names what has changed.

    """
    if plan.id == reviewed:
        return
    parts = _ID.fullmatch(reviewed)
    if parts is None:
        raise FeedbackError(f"'{reviewed}' is no plan's id; `feedback-kto policy plan` prints it last")
    if parts["labels"] is None:
        raise FeedbackError(
            f"plan {reviewed} compares two policies and not the stored labels with one; "
            f"{_AGAIN}, with the new policy alone"
        )
    for name, version in plan.versions.items():
        if int(parts[name]) != version:
            change = f"the {name} have changed since plan {reviewed} (version {parts[name]} then, {version} now)"
            if name == LABELS.name and not plan.changed:
                # A run can finish although the command that started it was killed.
                raise FeedbackError(
                    f"{change}; they are by this policy already, and `feedback-kto policy apply` without --plan "
                    "completes the change"
                )
            raise FeedbackError(f"{change}; {_AGAIN} and review what would change now")
    raise FeedbackError(
        f"plan {reviewed} is for another policy than {plan.after}; {_AGAIN}, or name the policy that it is for"
    )


def apply_plan(lake: Lake, policy: Policy, plan: Plan, *, run_id: str | None = None) -> Applied:
    """Label the days that change again.

    `confirm_applied` then checks that the changes are the planned ones, and confirms the other days in the ledger.

    Args:
        lake: the desk's lake.
        policy: the plan's new policy.
        plan: a current plan of the stored labels.
        run_id: id of the run that applies the plan, if a run does.

    """
    # Labels without a ledger entry cannot be confirmed, so they are built again.
    days = sorted({*plan.days, *unrecorded_days(lake)})
    written = write_labels(lake, policy, days, as_of=plan.as_of, run_id=run_id) if days else _NOTHING
    return Applied(days=days, written=written)


def confirm_applied(lake: Lake, policy: Policy, plan: Plan, *, run_id: str | None = None) -> list[date]:
    """Compare the labels of all days before and after, and the difference with the plan.

    If it is the planned one, the days that kept all their labels are confirmed as being by the policy.

    Args:
        lake: the desk's lake, to which `apply_plan` applied the plan.
        policy: the plan's new policy.
        plan: the applied plan.
        run_id: id of the run that applies the plan, if a run does.

    Returns:
        The days that kept their labels and were behind the policy in the ledger.

    Raises:
        FeedbackError: the labels changed in another way than planned; the message says how, and what else was written.

    """
    _verify(lake, policy, plan)
    confirmed, _ = days_behind(lake, policy)
    append_entries(
        lake,
        stage="labels",
        days=confirmed,
        how="confirmed",
        input_version=plan.versions[INTERACTIONS.name],
        output_version=plan.versions[LABELS.name],
        policy=policy,
        as_of=plan.as_of,
        run_id=run_id,
    )
    return confirmed


def _verify(lake: Lake, policy: Policy, plan: Plan) -> None:
    now = {table.name: lake.version(table) for table in (INTERACTIONS, LABELS)}
    with spilling(lake) as connection:
        view_stored(connection, lake, LABELS, name="were", version=plan.versions[LABELS.name])
        view_stored(connection, lake, LABELS, name="are", version=now[LABELS.name])
        changed = Comparison(connection, before="were", after="are")
        if plan_id(plan.versions, policy, changed) == plan.id:
            return
        with comparing(lake, policy, as_of=plan.as_of, versions=plan.versions) as (_, planned, _):
            connection.register("planned", planned.changes())
        differences = connection.execute(
            f"""
            SELECT count(*) FILTER (is_planned), count(*) FILTER (NOT is_planned), arg_min(draft_id, ({_KEY})),
                min(shown_date)
            FROM (
                SELECT *, true AS is_planned FROM (FROM planned EXCEPT ALL FROM changes)
                UNION ALL
                SELECT *, false FROM (FROM changes EXCEPT ALL FROM planned)
            )
            """
        ).fetchall()
    missing, unplanned, draft, day = differences[0]
    raise FeedbackError(
        f"the labels of {policy.name} {policy.version} are written, but not as planned: {missing:,} of "
        f"{plan.changed:,} planned changes are missing and {unplanned:,} are unplanned (the first: {draft} of {day}), "
        f"because {_meanwhile(plan, now)}; version {plan.versions[LABELS.name]} of the labels is the earlier one, and "
        "`feedback-kto policy plan` shows what is left to change"
    )


def _meanwhile(plan: Plan, now: Mapping[str, int | None]) -> str:
    """Return what else was written while the plan was applied."""
    if now[INTERACTIONS.name] != plan.versions[INTERACTIONS.name]:
        return (
            f"feedback arrived meanwhile (interactions went from version {plan.versions[INTERACTIONS.name]} to "
            f"{now[INTERACTIONS.name]})"
        )
    return f"another run wrote labels (they went from version {plan.versions[LABELS.name]} to {now[LABELS.name]})"
