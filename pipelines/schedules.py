"""The nightly retrain."""

from datetime import UTC, timedelta

import dagster as dg

from assets.common import DESK_TAG, NIGHTLY_CRON, DeskResource
from feedback.labels import oldest_provisional_day
from pipelines.jobs import nightly_retrain
from pipelines.ranges import range_tags


@dg.schedule(
    job=nightly_retrain,
    cron_schedule=NIGHTLY_CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
def nightly(context: dg.ScheduleEvaluationContext, desk: DeskResource) -> dg.RunRequest:
    """Every night, in one run: yesterday, the days that late feedback may still change, and those still maturing."""
    active = desk.active()
    settings = active.settings
    yesterday = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
    first = max(settings.first_day, yesterday - timedelta(days=settings.lookback_days))
    maturing = oldest_provisional_day(active.lake) or first
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags={**range_tags(min(first, maturing, yesterday), yesterday), DESK_TAG: active.name},
    )
