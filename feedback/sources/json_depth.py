"""Detect JSON texts that nest too deep, without parsing them."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

import numpy as np

DEPTH_LIMIT: Final = 200
"""A line with deeper nesting is quarantined: no log needs it, and later parsers recurse."""

TOO_DEEP: Final = f"nested deeper than {DEPTH_LIMIT} levels"

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def may_be_too_deep(lines: bytes) -> bool:
    """Return whether one of the lines could nest deeper than the limit; cheap, and False for nearly all lines."""
    # A brace and a bracket differ in one bit. A line with more of them than the limit holds a run of half as many that
    # begins at a multiple of that half.
    opening = np.flatnonzero((np.frombuffer(lines, np.uint8) | 0x20) == ord("{"))[:: DEPTH_LIMIT // 2].tolist()
    return any(lines.find(b"\n", first, last) < 0 for first, last in pairwise(opening))


def too_deep(text: bytes) -> bool:
    """Return whether the text nests deeper than the limit; for most texts a count of brackets is enough."""
    if text.count(b"{") + text.count(b"[") <= DEPTH_LIMIT:
        return False
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in b"[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                return True
        elif match[0] in b"]}":
            depth -= 1
    return False
