"""Replay: days as they were at a moment, built again beside the live tables.

A day is built as the ledger says that its labels of then were: from the version of the events that was read, as of the
moment and by the policy that are recorded. So it comes out bit for bit, also where logs came late or were changed
since. Where that version can be read no longer, the events at hand take its place; and as long as the labels of then
can be read, the new ones are compared with them.
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
from feedback.labels.lake_snapshot import LakeOfThen, Record, is_readable
from feedback.labels.ledger import append_entries, kept_policy
from feedback.lake.delta import Lake
from feedback.lake.event_schema import ROW_KINDS
from feedback.lake.parquet_scan import view_stored
from feedback.lake.sql_literals import literals
from feedback.lake.tables import EVENTS, INTERACTIONS, LABELS, LEDGER
from feedback.progress import Report, silent
from label_policy import Policy

_SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
# What bounds memory where many days were made alike.
_BATCH_DAYS = 31


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a replay made, and how far it is known to be what was."""

    lake: Lake
    """Holds the interactions, the labels and a ledger of their own."""
    policy: Policy
    """The policy that had labelled last."""
    recorded: list[date]
    """Days built as the ledger says."""
    unrecorded: list[date]
    """Days that no entry of then speaks of, built as of the moment itself."""
    present_events: list[date]
    """Recorded days built from the events at hand, since the version that was read is gone."""
    unlike: list[date]
    """Recorded days whose labels are not those that the table held then."""
    unchecked: list[date]
    """Recorded days whose labels of then can be read no longer."""


@dataclass(frozen=True, kw_only=True)
class _Day:
    """What a day's labels of then were made from. Versions are Delta's; None stands for what is at hand."""

    shown_date: date
    heard_as_of: datetime  # of the interactions
    heard_version: int | None  # of the events that the interactions were made from
    as_of: datetime
    policy: Policy
    # The policy that the labels stand by since some moment: another, where it gave the very labels that were there.
    stands_since: datetime
    stands_by: Policy
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
    """Build interactions and labels as they were at `moment` into a lake under `root`, which is made anew.

    Args:
        lake: the desk's, which is only read.
        root: folder of the replay.
        moment: aware datetime; what was made as of a later one does not count.
        policy: labels the days that no entry of then speaks of.
        first: first day; by default the first that was labelled then or, where none was, the first with drafts.
        last: last day, likewise.
        report: told how many days are built.

    Raises:
        FeedbackError: no draft of the days was known at the moment.

    """
    days = _recorded_days(lake, moment)
    recorded = {day.shown_date for day in days}
    newest = days[-1].stands_by if days else policy
    # What had not been built was not there: it is made only where nothing was, or where somebody asks for it.
    if first or last or not days:
        days += [_unrecorded_day(day, moment, policy) for day in _days_known(lake, moment) if day not in recorded]
    days = [day for day in days if (first or day.shown_date) <= day.shown_date <= (last or day.shown_date)]
    if not days:
        raise FeedbackError(
            f"no draft of those days was known at {moment:%Y-%m-%d %H:%M:%S} UTC; name a later moment or other days"
        )
    shutil.rmtree(root, ignore_errors=True)
    gone = _build(lake, root / "lake", days, report)
    made = LakeOfThen(root / "lake", origin=lake)
    unlike, unchecked = _compare(lake, made, days)
    return Replay(
        lake=made,
        policy=newest,
        recorded=sorted(day.shown_date for day in days if day.shown_date in recorded),
        unrecorded=sorted(day.shown_date for day in days if day.shown_date not in recorded),
        present_events=gone,
        unlike=unlike,
        unchecked=unchecked,
    )


def _recorded_days(lake: Lake, moment: datetime) -> list[_Day]:
    """The days that the ledger speaks of, the one that was labelled last at the end."""

    @cache
    def policy(digest: str, name: str, version: int) -> Policy:
        # Policies that differ in nothing else are kept once.
        return kept_policy(lake, digest).model_copy(update={"name": name, "version": version})

    with lake.sql(LEDGER) as connection:
        rows = connection.sql(_SQL, params={"moment": moment}).to_arrow_table().to_pylist()
    return [
        _Day(
            **{name: row[name] for name in ("shown_date", "heard_as_of", "heard_version", "as_of")},
            policy=policy(row["policy_digest"], row["policy"], row["policy_version"]),
            stands_since=row["stands_since"],
            stands_by=policy(row["standing_digest"], row["standing_policy"], row["standing_policy_version"]),
            labels_version=row["output_version"],
        )
        for row in rows
    ]


def _unrecorded_day(day: date, moment: datetime, policy: Policy) -> _Day:
    return _Day(
        shown_date=day, heard_as_of=moment, heard_version=None, as_of=moment, policy=policy,
        stands_since=moment, stands_by=policy, labels_version=None,
    )  # fmt: skip


def _days_known(lake: Lake, moment: datetime) -> list[date]:
    """The days with drafts that were known at the moment."""
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
    """Build the days, those that were made alike at once; returns those whose version of the events is gone."""
    past = Record(lake)

    for done, one, batch in _alike(days, lambda day: (day.heard_as_of, day.heard_version)):
        versions = None if one.heard_version is None else past.at(one.heard_version)
        write_interactions(LakeOfThen(root, origin=lake, versions=versions), batch, as_of=one.heard_as_of)
        report("interactions", done, len(days), "days")
    made = LakeOfThen(root, origin=lake)
    for done, one, batch in _alike(days, lambda day: (day.as_of, day.policy.digest, day.policy.id)):
        write_labels(made, one.policy, batch, as_of=one.as_of)
        report("labels", done, len(days), "days")
    confirmed = [day for day in days if (day.stands_since, day.stands_by) != (day.as_of, day.policy)]
    for _, one, batch in _alike(confirmed, lambda day: (day.stands_since, day.stands_by.digest, day.stands_by.id)):
        append_entries(
            made, stage="labels", days=batch, how="confirmed", input_version=made.version(INTERACTIONS),
            output_version=made.version(LABELS), policy=one.stands_by, as_of=one.stands_since, run_id=None,
        )  # fmt: skip
    return sorted(day.shown_date for day in days if day.heard_version is not None and not past.at(day.heard_version))


def _alike(days: list[_Day], key: Callable[[_Day], tuple[Any, ...]]) -> Iterator[tuple[int, _Day, list[date]]]:
    """The days with the same key, so many at a time: how many are done with them, one of them, and their dates."""
    groups: dict[tuple[Any, ...], list[_Day]] = {}
    for day in days:
        groups.setdefault(key(day), []).append(day)
    done = 0
    for group in groups.values():
        for start in range(0, len(group), _BATCH_DAYS):
            batch = group[start : start + _BATCH_DAYS]
            done += len(batch)
            yield done, batch[0], [day.shown_date for day in batch]


def _compare(lake: Lake, made: Lake, days: list[_Day]) -> tuple[list[date], list[date]]:
    """The recorded days whose labels are not, row for row, those that the table held then, and those it lost since."""
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
            view_stored(connection, lake, LABELS, name="held", days=of_version, version=version)
            view_stored(connection, made, LABELS, name="made", days=of_version)
            rows = connection.execute(_DIFFERENT).fetchall()
        unlike += [day for (day,) in rows]
    return sorted(unlike), sorted(unchecked)


_DIFFERENT = """
SELECT shown_date FROM (
    SELECT shown_date, sum(hash(held)) AS checksum FROM held GROUP BY shown_date
    UNION ALL SELECT shown_date, sum(hash(made)) FROM made GROUP BY shown_date
)
GROUP BY shown_date HAVING count(*) < 2 OR count(DISTINCT checksum) > 1
"""
