"""How deep a JSON text nests, told without parsing it."""

from __future__ import annotations

import re
from typing import Final

DEPTH_LIMIT: Final = 200
"""Nesting beyond which a line is quarantined: no log needs it, and parsers down the road recurse."""

TOO_DEEP: Final = f"nested deeper than {DEPTH_LIMIT} levels"

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def too_deep(text: bytes) -> bool:
    """Whether the text nests deeper than the limit; few hold enough brackets to need more than a count."""
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
