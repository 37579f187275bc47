"""Why lines are in quarantine: what the reasons have in common, and who is to blame."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from feedback.lake.event_schema import MAPPED_COLUMNS

# A value of the line stands between its column and what is wrong with it; DuckDB puts it into quotes.
_COLUMN: Final = "|".join(MAPPED_COLUMNS)
_WITH_VALUE: Final = re.compile(
    rf"(?P<column>{_COLUMN}): (?P<value>.+) (?P<what>(?:is (?:not|no|before|after|more) |ends in #).*)", re.DOTALL
)
_QUOTED: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*\"""")
_OF_AN_EVENT: Final = re.compile(rf"(?:mapping|{_COLUMN}): ")


def general_reason(reason: str) -> tuple[str, str | None]:
    """A reason as it is for every line with the same fault, and the value that this line has, if it holds one.

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
    """The `most` frequent reasons without the lines' values, from reasons as they are and their counts."""
    counts = Counter[str]()
    for reason, count in reasons:
        counts[general_reason(reason)[0]] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most])


def is_of_the_file(reason: str) -> bool:
    """Whether the line or the file could not be read, so that no mapping can help."""
    return _OF_AN_EVENT.match(reason) is None
