"""The sensors: log files that are not in the lake as they lie, and days that feedback or time has touched.

Both compare what is with what should be, at every look, and remember nothing but what they need not read again.
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
from pipelines.automation.run_requests import ask_for

# Of the minute that Dagster gives a look.
_SECONDS_OF_READING = 20.0


@dg.sensor(job=ingest_logs, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.STOPPED)
def new_log_files(context: dg.SensorEvaluationContext, desk: DeskResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ingest the arrival days with files that the books do not know as they lie; one run a range of such days.

    A day that has not ended has no partition yet: its files are looked at again when it has.
    """
    try:
        active = desk.active()
        files = discover(active.settings.input, active.source)
        today = datetime.now(UTC).date()
        found = new_arrivals(
            active.lake,
            [file for file in files if file.arrival_date < today],
            marks=json.loads(context.cursor or "{}"),  # it only saves reading files anew
            seconds=_SECONDS_OF_READING,
        )
    except FeedbackError as error:
        yield dg.SkipReason(str(error))
        return
    context.update_cursor(json.dumps(found.marks))
    yield from ask_for(
        context,
        job=ingest_logs.name,
        desk=active.name,
        days={file.arrival_date for file in found.new},
        nothing=f"no new log files in {active.settings.input}"
        + (f"; {found.unread} are yet to be compared with the books" if found.unread else ""),
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
            yield dg.SkipReason("nothing has changed since nothing was left to build")
            return
        days = {*touched_days(active.lake, as_of=moment), *matured_days(active.lake, as_of=moment)}
    except FeedbackError as error:
        yield dg.SkipReason(str(error))
        return
    if not any(DAYS.has_partition_key(day.isoformat()) for day in days):
        context.update_cursor(state)
    yield from ask_for(
        context, job=refresh.name, desk=active.name, days=days, nothing="no day is touched by later feedback or time"
    )


def _state_of_the_lake(desk: Desk, moment: datetime) -> str:
    """What decides which days are touched or have matured: as long as it stays the same, so do they."""
    versions = {table.name: desk.lake.version(table) for table in (EVENTS, FILES, INTERACTIONS, LABELS)}
    # Arrival days count once they have ended, so that time alone changes nothing within a day.
    return json.dumps({**versions, "moment": str(desk.settings.as_of or moment.date())})
