"""Which days a sensor asks for: not those that a run has in hand already, nor those whose run has just failed.

It is read from Dagster's own records of runs, whoever started them. So a day is never asked for twice at once, and one
whose run failed is asked for again, though not every five minutes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.support.common import DAYS, DESK_TAG
from pipelines.automation.apply_policy_job import apply_policy
from pipelines.automation.jobs import STAGES_OF_DAYS
from pipelines.runs.day_ranges import range_tags, runs_of_days, say_days, tagged_range

WAIT_AFTER_FAILURE = timedelta(hours=1)
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNDER_WAY = [status for status in dg.DagsterRunStatus if status not in _ENDED]


def ask_for(
    context: dg.SensorEvaluationContext, *, job: str, desk: str, days: Collection[date], nothing: str
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ask for runs of `job` over exactly those of `days` that no run has in hand, a run a range without gaps.

    While a policy is being applied nothing is asked for: it proves that nothing else changed the labels meanwhile. The
    requests have no run key, which would keep Dagster from ever running the same days again.

    Args:
        context: of the sensor's tick.
        job: one of `STAGES_OF_DAYS`.
        desk: name of the desk.
        days: what is to be made; also days that are no partition, which are named and not asked for.
        nothing: what to say where there is no such day.

    """
    if _applies_policy(context.instance, desk):
        yield dg.SkipReason("a policy is being applied; what there is to do is asked for once that has ended")
        return
    partitions = {date.fromisoformat(key) for key in DAYS.get_partition_keys()}
    outside = set(days) - partitions
    in_hand, failed = _known_to_dagster(context.instance, desk=desk, stages=frozenset(STAGES_OF_DAYS[job]))
    asked = set(days) - outside - in_hand - failed
    for first, last in runs_of_days(asked):
        yield dg.RunRequest(tags={**range_tags(first, last), DESK_TAG: desk})
    reasons = [
        f"{what}: {say_days(which)}"
        for what, which in (
            ("outside the partitions, which begin with first_day in desk.yaml", outside),
            ("in the hands of a run already", in_hand.intersection(days)),
            ("left for an hour after a run that failed", failed.intersection(days)),
        )
        if which
    ]
    if not asked:
        yield dg.SkipReason("; ".join(reasons) or nothing)
    for reason in reasons if asked else ():
        context.log.info(reason)


def _known_to_dagster(
    instance: dg.DagsterInstance, *, desk: str, stages: frozenset[str]
) -> tuple[set[date], set[date]]:
    """The days that runs under way will make all of `stages` of, and those whose newest run has just failed."""

    def days_by_run(filters: dg.RunsFilter) -> Iterator[tuple[dg.DagsterRun, Sequence[date]]]:
        for run in instance.get_runs(filters):  # the newest first
            asked = tagged_range(run.tags)
            if asked and stages <= _makes(run) and _is_of(run, desk):
                first, last = asked
                yield run, [first + timedelta(days=n) for n in range((last - first).days + 1)]

    in_hand = {day for _, days in days_by_run(dg.RunsFilter(statuses=_UNDER_WAY)) for day in days}
    succeeded: dict[date, bool] = {}
    just_ended = dg.RunsFilter(statuses=list(_ENDED), updated_after=datetime.now(UTC) - WAIT_AFTER_FAILURE)
    for run, days in days_by_run(just_ended):
        for day in days:
            succeeded.setdefault(day, run.status is dg.DagsterRunStatus.SUCCESS)
    return in_hand, {day for day, success in succeeded.items() if not success} - in_hand


def _applies_policy(instance: dg.DagsterInstance, desk: str) -> bool:
    filters = dg.RunsFilter(job_name=apply_policy.name, statuses=_UNDER_WAY)
    return any(_is_of(run, desk) for run in instance.get_runs(filters))


def _is_of(run: dg.DagsterRun, desk: str) -> bool:
    # A run that the UI started says no desk: it is of the one that the definitions were loaded for.
    return run.tags.get(DESK_TAG, desk) == desk


def _makes(run: dg.DagsterRun) -> frozenset[str]:
    """The assets that a run makes: those that were picked, or else all of its job's."""
    if run.asset_selection:
        return frozenset(key.to_user_string() for key in run.asset_selection)
    return frozenset(STAGES_OF_DAYS.get(run.job_name, ()))
