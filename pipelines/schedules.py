"""The nightly retrain."""

from datetime import UTC, timedelta

import dagster as dg

from assets.common import NIGHTLY_CRON, DeskResource
from pipelines.jobs import nightly_retrain
from pipelines.ranges import range_tags


@dg.schedule(
    job=nightly_retrain,
    cron_schedule=NIGHTLY_CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def nightly(context: dg.ScheduleEvaluationContext, desk: DeskResource) -> dg.RunRequest:
    """Every night, yesterday and the days before it that late feedback may still change, in one run."""
    settings = desk.active().settings
    yesterday = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
    first = max(settings.first_day, yesterday - timedelta(days=settings.lookback_days))
    return dg.RunRequest(run_key=yesterday.isoformat(), tags=range_tags(min(first, yesterday), yesterday))
