"""Applying a plan: the days that change are labelled again, and what changed is held against what was planned."""

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
    """What applying a plan did.

    Attributes:
        days: that were labelled again: those that change, and those of which nothing records what made them.
        written: all labels of those days, and the corrections.

    """

    days: list[date]
    written: WrittenLabels


def check_plan(plan: Plan, asked: str) -> None:
    """Refuse a plan that says something else by now than when it was made.

    Args:
        plan: made just now, of the stored labels.
        asked: the id of the plan that somebody looked at.

    Raises:
        FeedbackError: they are not the same; it names what has changed.

    """
    if plan.id == asked:
        return
    parts = _ID.fullmatch(asked)
    if parts is None:
        raise FeedbackError(f"'{asked}' is no plan's id; `feedback-kto policy plan` prints it last")
    if parts["labels"] is None:
        raise FeedbackError(
            f"plan {asked} compares two policies and not what is stored with one; {_AGAIN}, with the new policy alone"
        )
    for name, version in plan.versions.items():
        if int(parts[name]) != version:
            since = f"the {name} were written since plan {asked} was made (version {parts[name]} then, {version} now)"
            if name == LABELS.name and not plan.changed:
                # As after a run that went on when the command that had started it was killed.
                raise FeedbackError(
                    f"{since}; they are by this policy already, and `feedback-kto policy apply` without --plan "
                    "finishes what is left to do"
                )
            raise FeedbackError(f"{since}; {_AGAIN} and look at what would change now")
    raise FeedbackError(
        f"plan {asked} was made for another policy than {plan.after}; {_AGAIN}, or name the policy that it was made for"
    )


def apply_plan(lake: Lake, policy: Policy, plan: Plan, *, run_id: str | None = None) -> Applied:
    """Label the days that change again.

    `confirm_applied` then proves that what changed is what was planned, and records the other days as they are.

    Args:
        lake: the desk's.
        policy: the one that the plan was made for.
        plan: of the stored labels, made just now.
        run_id: of the run that does this, if one does.

    """
    # Of labels that nothing records, no entry can say that they are as they were: these are made again.
    days = sorted({*plan.days, *unrecorded_days(lake)})
    written = write_labels(lake, policy, days, as_of=plan.as_of, run_id=run_id) if days else _NOTHING
    return Applied(days=days, written=written)


def confirm_applied(lake: Lake, policy: Policy, plan: Plan, *, run_id: str | None = None) -> list[date]:
    """Compare the labels as they were with the labels as they are, in all their days, and that with the plan.

    Only then are the days that kept all their labels recorded as being by the policy.

    Args:
        lake: the desk's, to which `apply_plan` applied the plan.
        policy: the one that the plan was made for.
        plan: that was applied.
        run_id: of the run that does this, if one does.

    Returns:
        The days that kept their labels and were not known to be by the policy.

    Raises:
        FeedbackError: they changed otherwise than planned; it says how, and what was written meanwhile.

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
        f"{plan.changed:,} planned changes are not there and {unplanned:,} others are (the first: {draft} of {day}), "
        f"because {_meanwhile(plan, now)}; version {plan.versions[LABELS.name]} of the labels is what was before, and "
        "`feedback-kto policy plan` says whether anything is left to change"
    )


def _meanwhile(plan: Plan, now: Mapping[str, int | None]) -> str:
    """What else was written while the plan was applied."""
    if now[INTERACTIONS.name] != plan.versions[INTERACTIONS.name]:
        return (
            f"feedback arrived meanwhile (interactions went from version {plan.versions[INTERACTIONS.name]} to "
            f"{now[INTERACTIONS.name]})"
        )
    return f"another run wrote labels (they went from version {plan.versions[LABELS.name]} to {now[LABELS.name]})"
