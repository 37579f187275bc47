"""The nightly retrain."""

from datetime import UTC, timedelta

import dagster as dg

from assets.support.common import DESK_TAG, NIGHTLY_CRON, DeskResource
from feedback.labels.stale_partitions import due_days
from pipelines.automation.jobs import nightly_retrain
from pipelines.runs.day_ranges import range_tags


@dg.schedule(
    job=nightly_retrain,
    cron_schedule=NIGHTLY_CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def nightly(context: dg.ScheduleEvaluationContext, desk: DeskResource) -> dg.RunRequest:
    """Every night, in one run: yesterday, the days that late feedback may still change, and labels that are now due.

    It reaches back to the oldest day with a label that can be final by now; days that only wait do not count. Feedback
    that comes later than `lookback_days` is for the sensor `late_feedback`.
    """
    active = desk.active()
    settings = active.settings
    yesterday = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
    lookback = max(settings.first_day, yesterday - timedelta(days=settings.lookback_days))
    due = due_days(active.lake, settings.as_of or context.scheduled_execution_time)
    first = min([lookback, yesterday, *(day for day in due if day >= settings.first_day)])
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags={**range_tags(first, yesterday), DESK_TAG: active.name},
    )
