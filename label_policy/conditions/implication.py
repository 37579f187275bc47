"""Decide whether one condition is true wherever another is, from their ANDs and ORs.

Sound in SQL's three-valued logic: AND is true where all of its parts are, OR where one is. Not complete: parts are only
compared for equality, so ``x > 2`` is not recognised to imply ``x > 1``.
"""

import json
from functools import cache
from typing import NamedTuple

from label_policy.conditions.condition import Condition
from label_policy.conditions.grammar import Canonical


class _Part(NamedTuple):
    """A part of a condition: the operator that joins its parts, and their numbers. A simple part has one: itself."""

    joined: str
    parts: frozenset[int]
    compound: frozenset[int]
    """The `parts` that are an AND or an OR."""


class Implications:
    """Answers `holds` for a set of conditions; numbers their parts, so that equal parts have one number."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._parts: list[_Part] = []
        self._number_of = cache(lambda condition: self._number(condition.meaning))

    def holds(self, narrow: Condition, wide: Condition) -> bool:
        """Return whether `wide` is true wherever `narrow` is."""
        return self._implies(self._number_of(narrow), self._number_of(wide), {})

    def _number(self, meaning: Canonical) -> int:
        if isinstance(meaning, list) and meaning[0] in ("and", "or"):
            numbers = frozenset(map(self._number, meaning[1:]))
            part = _Part(str(meaning[0]), numbers, frozenset(n for n in numbers if self._parts[n].joined))
        else:
            part = _Part("", frozenset((len(self._parts),)), frozenset())
        key = part if part.joined else json.dumps(meaning)
        if key not in self._numbers:
            self._numbers[key] = len(self._parts)
            self._parts.append(part)
        return self._numbers[key]

    def _implies(self, narrow: int, wide: int, results: dict[tuple[int, int], bool]) -> bool:
        # Two parts can meet along many paths, twice as many at every level, so results are kept.
        pair = narrow, wide
        if pair not in results:
            results[pair] = narrow == wide or self._parts_imply(narrow, wide, results)
        return results[pair]

    def _parts_imply(self, narrow: int, wide: int, results: dict[tuple[int, int], bool]) -> bool:
        narrow_part, wide_part = self._parts[narrow], self._parts[wide]
        if narrow_part.joined == "or":
            return all(self._implies(part, wide, results) for part in narrow_part.parts)
        if wide_part.joined == "and":
            return all(self._implies(narrow, part, results) for part in wide_part.parts)
        # Simple parts imply each other only if they are equal.
        return (
            not narrow_part.parts.isdisjoint(wide_part.parts)
            or any(self._implies(part, wide, results) for part in narrow_part.compound)
            or any(self._implies(narrow, part, results) for part in wide_part.compound)
        )
