"""Replay: build days again as they were at a moment, beside the live tables.

A day is built from the version of the events, as of the moment and by the policy that the ledger records for its
labels. So the result is the same bit for bit, even if logs came late or changed since. If that version is no longer
readable, the current events replace it. As long as the labels of that moment are readable, the new ones are compared
with them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from feedback.exceptions import FeedbackError
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.lake_snapshot import EventVersions, SnapshotLake, is_readable
from feedback.labels.ledger import append_entries, kept_policy
from feedback.lake.delta import Lake
from feedback.lake.event_schema import ROW_KINDS
from feedback.lake.parquet_scan import view_stored
from feedback.lake.sql_literals import literals
from feedback.lake.tables import EVENTS, INTERACTIONS, LABELS, LEDGER
from feedback.progress import Report, silent
from label_policy import Policy

_SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
# Bounds memory where many days were built in the same way.
_BATCH_DAYS = 31


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The result of a replay, and the days on which it may differ from the past labels."""

    lake: Lake
    """Holds the replayed interactions and labels, and their ledger."""
    policy: Policy
    """The policy that had labelled last at the moment."""
    recorded: list[date]
    """Days built as the ledger records."""
    unrecorded: list[date]
    """Days without a ledger entry at the moment, built as of the moment itself."""
    present_events: list[date]
    """Recorded days built from the current events, because the version that was read then is gone."""
    unlike: list[date]
    """Recorded days whose labels differ from those that the table held then."""
    unchecked: list[date]
    """Recorded days whose past labels are no longer readable."""


@dataclass(frozen=True, kw_only=True)
class _Day:
    """The inputs of a day's past labels. Versions are Delta's; None is the current version."""

    shown_date: date
    interactions_as_of: datetime
    events_version: int | None  # that the interactions were built from
    as_of: datetime
    policy: Policy
    # The policy that the labels count for, and since when: a later policy, if it gives the same labels.
    confirmed_as_of: datetime
    confirmed_by: Policy
    labels_version: int | None


def replay(
    lake: Lake,
    root: Path,
    *,
    moment: datetime,
    policy: Policy,
    first: date | None = None,
    last: date | None = None,
    report: Report = silent,
) -> Replay:
    """Build interactions and labels as they were at `moment` into a new lake under `root`.

    Args:
        lake: the desk's lake, which is only read.
        root: folder of the replay; an existing one is replaced.
        moment: aware datetime; rows built as of a later one do not count.
        policy: labels the days without a ledger entry at the moment.
        first: first day; by default the first that was labelled then or, where none was, the first with drafts.
        last: last day, likewise.
        report: gets the number of built days.

    Raises:
        FeedbackError: no draft of the days was known at the moment.

    """
    days = _recorded_days(lake, moment)
    recorded = {day.shown_date for day in days}
    newest = days[-1].confirmed_by if days else policy
    # Days that were not labelled then are built only if no day was, or if the caller names a range.
    if first or last or not days:
        days += [_unrecorded_day(day, moment, policy) for day in _days_known(lake, moment) if day not in recorded]
    days = [day for day in days if (first or day.shown_date) <= day.shown_date <= (last or day.shown_date)]
    if not days:
        raise FeedbackError(
            f"no draft of those days was known at {moment:%Y-%m-%d %H:%M:%S} UTC; name a later moment or other days"
        )
    shutil.rmtree(root, ignore_errors=True)
    present_events = _build(lake, root / "lake", days, report)
    replayed = SnapshotLake(root / "lake", origin=lake)
    unlike, unchecked = _compare(lake, replayed, days)
    return Replay(
        lake=replayed,
        policy=newest,
        recorded=sorted(day.shown_date for day in days if day.shown_date in recorded),
        unrecorded=sorted(day.shown_date for day in days if day.shown_date not in recorded),
        present_events=present_events,
        unlike=unlike,
        unchecked=unchecked,
    )


def _recorded_days(lake: Lake, moment: datetime) -> list[_Day]:
    """Return the days in the ledger; the one that was labelled last is the last."""

    @cache
    def policy(digest: str, name: str, version: int) -> Policy:
        # Policies that differ only in name and version are stored once.
        return kept_policy(lake, digest).model_copy(update={"name": name, "version": version})

    with lake.sql(LEDGER) as connection:
        rows = connection.sql(_SQL, params={"moment": moment}).to_arrow_table().to_pylist()
    return [
        _Day(
            **{name: row[name] for name in ("shown_date", "interactions_as_of", "events_version", "as_of")},
            policy=policy(row["policy_digest"], row["policy"], row["policy_version"]),
            confirmed_as_of=row["confirmed_as_of"],
            confirmed_by=policy(row["confirmed_digest"], row["confirmed_policy"], row["confirmed_policy_version"]),
            labels_version=row["output_version"],
        )
        for row in rows
    ]


def _unrecorded_day(day: date, moment: datetime, policy: Policy) -> _Day:
    return _Day(
        shown_date=day, interactions_as_of=moment, events_version=None, as_of=moment, policy=policy,
        confirmed_as_of=moment, confirmed_by=policy, labels_version=None,
    )  # fmt: skip


def _days_known(lake: Lake, moment: datetime) -> list[date]:
    """Return the days with drafts that were known at the moment."""
    with lake.sql(EVENTS) as connection:
        rows = connection.execute(
            f"""
            SELECT DISTINCT CAST(occurred_at AS DATE) FROM events
            WHERE kind IN ({literals(ROW_KINDS)}) AND received_at <= $moment
                AND arrival_date < CAST($moment AS DATE)
            """,
            {"moment": moment},
        ).fetchall()
    return [day for (day,) in rows]


def _build(lake: Lake, root: Path, days: list[_Day], report: Report) -> list[date]:
    """Build the days, those with equal inputs together; return the days whose version of the events is gone."""
    past = EventVersions(lake)

    for done, day, batch in _batches(days, lambda day: (day.interactions_as_of, day.events_version)):
        versions = None if day.events_version is None else past.at(day.events_version)
        write_interactions(SnapshotLake(root, origin=lake, versions=versions), batch, as_of=day.interactions_as_of)
        report("interactions", done, len(days), "days")
    replayed = SnapshotLake(root, origin=lake)
    for done, day, batch in _batches(days, lambda day: (day.as_of, day.policy.digest, day.policy.id)):
        write_labels(replayed, day.policy, batch, as_of=day.as_of)
        report("labels", done, len(days), "days")
    confirmed = [day for day in days if (day.confirmed_as_of, day.confirmed_by) != (day.as_of, day.policy)]
    for _, day, batch in _batches(
        confirmed, lambda day: (day.confirmed_as_of, day.confirmed_by.digest, day.confirmed_by.id)
    ):
        append_entries(
            replayed, stage="labels", days=batch, how="confirmed", input_version=replayed.version(INTERACTIONS),
            output_version=replayed.version(LABELS), policy=day.confirmed_by, as_of=day.confirmed_as_of, run_id=None,
        )  # fmt: skip
    return sorted(day.shown_date for day in days if day.events_version is not None and not past.at(day.events_version))


def _batches(days: list[_Day], key: Callable[[_Day], tuple[Any, ...]]) -> Iterator[tuple[int, _Day, list[date]]]:
    """Yield batches of days with the same key: the number of days so far, the first day, and the dates."""
    groups: dict[tuple[Any, ...], list[_Day]] = {}
    for day in days:
        groups.setdefault(key(day), []).append(day)
    done = 0
    for group in groups.values():
        for start in range(0, len(group), _BATCH_DAYS):
            batch = group[start : start + _BATCH_DAYS]
            done += len(batch)
            yield done, batch[0], [day.shown_date for day in batch]


def _compare(lake: Lake, replayed: Lake, days: list[_Day]) -> tuple[list[date], list[date]]:
    """Return the recorded days with a row unlike the past labels, and those whose past labels are gone."""
    unlike: list[date] = []
    unchecked: list[date] = []
    versions: dict[int, list[date]] = {}
    for day in days:
        if day.labels_version is not None:
            versions.setdefault(day.labels_version, []).append(day.shown_date)
    for version, of_version in versions.items():
        if not is_readable(lake, LABELS, version):
            unchecked += of_version
            continue
        with lake.sql() as connection:
            view_stored(connection, lake, LABELS, name="past", days=of_version, version=version)
            view_stored(connection, replayed, LABELS, name="replayed", days=of_version)
            rows = connection.execute(_DIFFERENT).fetchall()
        unlike += [day for (day,) in rows]
    return sorted(unlike), sorted(unchecked)


_DIFFERENT = """
SELECT shown_date FROM (
    SELECT shown_date, sum(hash(past)) AS checksum FROM past GROUP BY shown_date
    UNION ALL SELECT shown_date, sum(hash(replayed)) FROM replayed GROUP BY shown_date
)
GROUP BY shown_date HAVING count(*) < 2 OR count(DISTINCT checksum) > 1
"""
