"""The sensor for newly arrived log files."""

import hashlib
import json
from collections.abc import Iterator
from datetime import date

import dagster as dg

from assets.common import DAYS, DESK_TAG, DeskResource
from feedback.exceptions import FeedbackError
from feedback.rawfiles import discover
from pipelines.jobs import ingest_logs
from pipelines.ranges import range_tags, runs_of_days


@dg.sensor(job=ingest_logs, minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.STOPPED)
def new_log_files(context: dg.SensorEvaluationContext, desk: DeskResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Ingest the arrival days whose files are new or have changed since the last look; one run a range of such days.

    A day that has not ended has no partition yet: its files are looked at again when it has.
    """
    try:
        active = desk.active()
        files = discover(active.settings.input, active.source)
    except FeedbackError as error:
        yield dg.SkipReason(str(error))
        return
    seen: dict[str, list[int]] = json.loads(context.cursor) if context.cursor else {}
    partitions = set(DAYS.get_partition_keys())
    now: dict[str, list[int]] = {}
    changed: set[date] = set()
    for file in files:
        status = file.path.stat()
        mark = [status.st_size, status.st_mtime_ns]
        if file.arrival_date.isoformat() not in partitions:
            continue
        now[file.name] = mark
        if seen.get(file.name) != mark:
            changed.add(file.arrival_date)
    if not changed:
        yield dg.SkipReason(f"no new log files in {active.settings.input}")
    for first, last in runs_of_days(changed):
        marks = {file.name: now[file.name] for file in files if first <= file.arrival_date <= last}
        fingerprint = hashlib.sha256(json.dumps(marks, sort_keys=True).encode()).hexdigest()[:12]
        yield dg.RunRequest(
            run_key=f"{first}:{last}:{fingerprint}", tags={**range_tags(first, last), DESK_TAG: active.name}
        )
    context.update_cursor(json.dumps(now))
