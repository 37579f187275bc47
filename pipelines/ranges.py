"""Runs over a range of days, all of them in one run."""

from __future__ import annotations

from datetime import date, timedelta

# Dagster's own tags of a run over a range of partitions; written out because importing them takes a second.
_FIRST = "dagster/asset_partition_range_start"
_LAST = "dagster/asset_partition_range_end"


def range_tags(first: date, last: date) -> dict[str, str]:
    """The run tags that ask for the days `first` to `last`, both included."""
    return {
        _FIRST: first.isoformat(),
        _LAST: last.isoformat(),
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
