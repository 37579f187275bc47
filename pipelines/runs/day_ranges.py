"""Runs over a range of days, all of them in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

# Dagster's own tags of a run over several partitions, and over one. Written out, since importing them takes a second.
_FIRST = "dagster/asset_partition_range_start"
_LAST = "dagster/asset_partition_range_end"
_ONE = "dagster/partition"


def range_tags(first: date, last: date) -> dict[str, str]:
    """The run tags that ask for the days `first` to `last`, both included."""
    return {
        _FIRST: first.isoformat(),
        _LAST: last.isoformat(),
    }


def tagged_range(tags: Mapping[str, str]) -> tuple[date, date] | None:
    """The first and last day that a run's tags ask for, or None where they ask for none."""
    first, last = tags.get(_FIRST, tags.get(_ONE)), tags.get(_LAST, tags.get(_ONE))
    return (date.fromisoformat(first), date.fromisoformat(last)) if first and last else None


def runs_of_days(days: Iterable[date]) -> list[tuple[date, date]]:
    """The days as ranges without gaps, in order."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def say_days(days: Iterable[date], most: int = 5) -> str:
    """The days as a person would name them: `2026-03-02, 2026-03-04 to 2026-03-09 and 3 more`."""
    ranges = runs_of_days(days)
    named = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges[:most])
    return named + (f" and {len(ranges) - most} more" if len(ranges) > most else "")
