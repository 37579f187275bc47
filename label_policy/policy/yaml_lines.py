"""Lines of the keys and items of a YAML text, so that an error about a value can name its line."""

from collections.abc import Mapping
from typing import Protocol

import yaml

Loc = tuple[str | int, ...]
"""Path of keys and indices from the document to a value, as in pydantic's errors; empty for the document itself."""


class _Mark(Protocol):
    """A place as PyYAML's two parsers, in Python and in C, give it; ``line`` counts from 0."""

    line: int


def line_at(mark: _Mark | None) -> int:
    """Return the line of one of PyYAML's marks, from 1; 1 without a mark."""
    return mark.line + 1 if mark is not None else 1


def find_lines(root: yaml.Node | None) -> dict[Loc, int]:
    """Return the line, from 1, of each key and item of a composed document, and of the document itself."""
    lines: dict[Loc, int] = {}
    _find(root, (), lines, set())
    return lines


def line_of(lines: Mapping[Loc, int], loc: Loc) -> int:
    """Return the line of `loc`; for a missing key, the line of its parent."""
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


def _find(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int], seen: set[int]) -> None:
    lines.setdefault(loc, line_at(node.start_mark if node is not None else None))
    # An alias is the same node object that it refers to, and may lie within it.
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _find(item, (*loc, index), lines, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*loc, str(key.value))
            lines[place] = line_at(key.start_mark)
            _find(value, place, lines, seen)
