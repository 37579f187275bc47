"""Request runs for a sensor's days, except days that a run has in hand and days whose run has just failed.

Dagster's own run table decides, whoever started the runs. So a day is never requested twice at once. A day whose run
failed is requested again, though not every five minutes.
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


def request_runs(
    context: dg.SensorEvaluationContext, *, job: str, desk: str, days: Collection[date], nothing: str
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request runs of `job` over exactly those of `days` that no run has in hand, one run per range without gaps.

    While a policy is being applied nothing is requested: that run proves that nothing else changed the labels. The
    requests have no run key, which would keep Dagster from ever running the same days again.

    Args:
        context: the context of the sensor's tick.
        job: one of `STAGES_OF_DAYS`.
        desk: name of the desk.
        days: the days to build; those that are no partition are named and not requested.
        nothing: the skip reason where there is no such day.

    """
    if _applies_policy(context.instance, desk):
        yield dg.SkipReason("a policy is being applied; the days are requested once that has ended")
        return
    partitions = {date.fromisoformat(key) for key in DAYS.get_partition_keys()}
    outside = set(days) - partitions
    in_hand, failed = _days_of_runs(context.instance, desk=desk, stages=frozenset(STAGES_OF_DAYS[job]))
    requested = set(days) - outside - in_hand - failed
    for first, last in runs_of_days(requested):
        yield dg.RunRequest(tags={**range_tags(first, last), DESK_TAG: desk})
    reasons = [
        f"{reason}: {say_days(excluded)}"
        for reason, excluded in (
            ("outside the partitions, which begin with first_day in desk.yaml", outside),
            ("in the hands of a run already", in_hand.intersection(days)),
            ("left for an hour after a run that failed", failed.intersection(days)),
        )
        if excluded
    ]
    if not requested:
        yield dg.SkipReason("; ".join(reasons) or nothing)
    for reason in reasons if requested else ():
        context.log.info(reason)


def _days_of_runs(instance: dg.DagsterInstance, *, desk: str, stages: frozenset[str]) -> tuple[set[date], set[date]]:
    """Return the days whose `stages` runs under way will all make, and the days whose newest run has just failed."""

    def days_by_run(filters: dg.RunsFilter) -> Iterator[tuple[dg.DagsterRun, Sequence[date]]]:
        for run in instance.get_runs(filters):  # the newest first
            tagged = tagged_range(run.tags)
            if tagged and stages <= _makes(run) and _is_of(run, desk):
                first, last = tagged
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
    # A run that the UI started has no desk tag: its desk is the one that the definitions were loaded for.
    return run.tags.get(DESK_TAG, desk) == desk


def _makes(run: dg.DagsterRun) -> frozenset[str]:
    """Return the assets that a run makes: the selected ones, or else all of its job."""
    if run.asset_selection:
        return frozenset(key.to_user_string() for key in run.asset_selection)
    return frozenset(STAGES_OF_DAYS.get(run.job_name, ()))
