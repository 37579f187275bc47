"""Whether one condition is true wherever another is, as far as their ANDs and ORs show it.

Sound in SQL's three values, since AND is true where all of its parts are and OR where one is; and not complete, since
what a part says is not looked at: ``x > 2`` is not seen to imply ``x > 1``.
"""

import json
from functools import cache
from typing import NamedTuple

from label_policy.conditions.condition import Condition
from label_policy.conditions.grammar import Canonical


class _Part(NamedTuple):
    """A part of a condition: what joins its own parts, and their numbers. One that joins none is its only part."""

    joined: str
    parts: frozenset[int]
    compound: frozenset[int]
    """Those of `parts` that are an AND or an OR."""


class Implications:
    """Answers `holds` for some conditions, whose parts it numbers: equal parts have one number."""

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

    def _implies(self, narrow: int, wide: int, known: dict[tuple[int, int], bool]) -> bool:
        # Two parts can meet along many ways, twice as many at every level, so what is `known` is not asked again.
        pair = narrow, wide
        if pair not in known:
            known[pair] = narrow == wide or self._parts_imply(narrow, wide, known)
        return known[pair]

    def _parts_imply(self, narrow: int, wide: int, known: dict[tuple[int, int], bool]) -> bool:
        all_true, one_wanted = self._parts[narrow], self._parts[wide]
        if all_true.joined == "or":
            return all(self._implies(part, wide, known) for part in all_true.parts)
        if one_wanted.joined == "and":
            return all(self._implies(narrow, part, known) for part in one_wanted.parts)
        # Parts that join nothing are equal or say nothing of each other.
        return (
            not all_true.parts.isdisjoint(one_wanted.parts)
            or any(self._implies(part, wide, known) for part in all_true.compound)
            or any(self._implies(narrow, part, known) for part in one_wanted.compound)
        )
