"""Group quarantine reasons without the lines' values, and tell faults of the file from faults of an event."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from feedback.lake.event_schema import MAPPED_COLUMNS

# A reason holds the line's value between the column and the fault; in DuckDB's messages the value is in quotes.
_COLUMN: Final = "|".join(MAPPED_COLUMNS)
_WITH_VALUE: Final = re.compile(
    rf"(?P<column>{_COLUMN}): (?P<value>.+) (?P<what>(?:is (?:not|no|before|after|more) |ends in #).*)", re.DOTALL
)
_QUOTED: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*\"""")
_OF_AN_EVENT: Final = re.compile(rf"(?:mapping|{_COLUMN}): ")


def general_reason(reason: str) -> tuple[str, str | None]:
    """Return the reason without the line's value, and that value if the reason holds one.

    >>> general_reason("score: 7.5 is not a number from 0 to 1")
    ('score: is not a number from 0 to 1', '7.5')
    >>> general_reason("not JSON")
    ('not JSON', None)
    """
    if match := _WITH_VALUE.fullmatch(reason):
        return f"{match['column']}: {match['what']}", match["value"]
    if reason.startswith("mapping: ") and (quoted := _QUOTED.search(reason)):
        return _QUOTED.sub("…", reason), quoted[0]
    return reason, None


def count_reasons(reasons: Iterable[tuple[str, int]], most: int) -> Mapping[str, int]:
    """Return the `most` frequent reasons with counts, from full reasons with counts; the lines' values are removed."""
    counts = Counter[str]()
    for reason, count in reasons:
        counts[general_reason(reason)[0]] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def is_of_the_file(reason: str) -> bool:
    """Return whether the line or the file could not be read, which no mapping can correct."""
    return _OF_AN_EVENT.match(reason) is None
