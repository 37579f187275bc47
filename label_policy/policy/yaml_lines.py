"""Where in a YAML text each key and item stands, so that an error about a value can name its line."""

from collections.abc import Mapping
from typing import Protocol

import yaml

Loc = tuple[str | int, ...]
"""The keys and indices that lead from the document to a value, as pydantic gives them; of the document itself, none."""


class _Mark(Protocol):
    """What both of PyYAML's parsers, in Python and in C, give as a place: ``line`` counts from 0."""

    line: int


def line_at(mark: _Mark | None) -> int:
    """Return the line of one of PyYAML's marks, from 1; the first where there is none."""
    return mark.line + 1 if mark is not None else 1


def find_lines(root: yaml.Node | None) -> dict[Loc, int]:
    """Return the line, from 1, of each key and item of a composed document, and of the document itself."""
    lines: dict[Loc, int] = {}
    _find(root, (), lines, set())
    return lines


def line_of(lines: Mapping[Loc, int], loc: Loc) -> int:
    """Return the line of `loc`; what is missing has none of its own, so that of what should hold it."""
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


def _find(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int], seen: set[int]) -> None:
    lines.setdefault(loc, line_at(node.start_mark if node is not None else None))
    # An alias is the very node that it stands for, and may stand within it.
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
