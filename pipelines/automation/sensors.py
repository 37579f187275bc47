"""The sensors: for new or changed log files, and for days that feedback or time has touched.

At every tick, both compare the lake with what it should hold. Their cursors only save reading the same again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.support.common import DAYS, DeskResource
from desk.desk import Desk
from feedback.exceptions import FeedbackError
from feedback.ingest.new_files import new_arrivals
from feedback.labels.stale_partitions import matured_days, touched_days
from feedback.lake.tables import EVENTS, FILES, INTERACTIONS, LABELS
from feedback.sources.raw_files import discover
from pipelines.automation.jobs import ingest_logs, refresh
from pipelines.automation.run_requests import request_runs

# Of the minute that Dagster allows for a tick.
_SECONDS_OF_READING = 20.0


@dg.sensor(job=ingest_logs, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.STOPPED)
def new_log_files(context: dg.SensorEvaluationContext, desk: DeskResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ingest the arrival days whose files are not in the books as they are now; one run per range of such days.

    A day that has not ended has no partition yet: its files are checked again when it has.
    """
    try:
        active = desk.active()
        files = discover(active.settings.input, active.source)
        today = datetime.now(UTC).date()
        arrivals = new_arrivals(
            active.lake,
            [file for file in files if file.arrival_date < today],
            marks=json.loads(context.cursor or "{}"),  # it only saves reading files anew
            seconds=_SECONDS_OF_READING,
        )
    except FeedbackError as error:
        yield dg.SkipReason(str(error))
        return
    context.update_cursor(json.dumps(arrivals.marks))
    yield from request_runs(
        context,
        job=ingest_logs.name,
        desk=active.name,
        days={file.arrival_date for file in arrivals.new},
        nothing=f"no new log files in {active.settings.input}"
        + (f"; {arrivals.unread} are yet to be compared with the books" if arrivals.unread else ""),
    )


@dg.sensor(job=refresh, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.STOPPED)
def late_feedback(context: dg.SensorEvaluationContext, desk: DeskResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Build again the days that later feedback has touched or whose labels have matured: those and no others.

    See docs/late-feedback.md.
    """
    try:
        active = desk.active()
        moment = (active.settings.as_of or datetime.now(UTC)).astimezone(UTC)
        state = _state_of_the_lake(active, moment)
        if context.cursor == state:
            yield dg.SkipReason("nothing has changed since the last tick, which left nothing to build")
            return
        days = {*touched_days(active.lake, as_of=moment), *matured_days(active.lake, as_of=moment)}
    except FeedbackError as error:
        yield dg.SkipReason(str(error))
        return
    if not any(DAYS.has_partition_key(day.isoformat()) for day in days):
        context.update_cursor(state)
    yield from request_runs(
        context, job=refresh.name, desk=active.name, days=days, nothing="no day is touched by later feedback or time"
    )


def _state_of_the_lake(desk: Desk, moment: datetime) -> str:
    """Return the state that decides which days are touched or have matured: the same state gives the same days."""
    versions = {table.name: desk.lake.version(table) for table in (EVENTS, FILES, INTERACTIONS, LABELS)}
    # Arrival days count once they have ended, so that time alone changes nothing within a day.
    return json.dumps({**versions, "moment": str(desk.settings.as_of or moment.date())})
