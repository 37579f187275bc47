"""Runs over a range of days, all of them in one run."""

from __future__ import annotations

from datetime import date, timedelta

from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)


def range_tags(first: date, last: date) -> dict[str, str]:
    """The run tags that ask for the days `first` to `last`, both included."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
    }


def runs_of_days(days: set[date]) -> list[tuple[date, date]]:
    """The days as ranges without gaps, in order."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges
