"""Allocate the rows that people read to strata: Neyman allocation between bounds.

The rows of a class are divided in proportion to N·S: a stratum's number of labels times the standard deviation of a
label being right in it (Neyman, 1934). Large and uncertain strata get more rows. A stratum gets at least its floor, at
least the rows of its first places that have been read, and at most its size. Which rows have been read depends on no
verdict, so it may decide how many are drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A part of the labels that is sampled separately.

    Args:
        name: unique name of the stratum.
        label: the class that it belongs to.
        size: number of its labels, at least 1.
        judged: number of its labels with a verdict desirable or undesirable.
        right: number of these verdicts that agree with the label.
        read: places that have been read, counted from 1.
        least: number of its rows that its tier needs.

    """

    name: str
    label: str
    size: int
    judged: float = 0
    right: float = 0
    read: frozenset[int] = frozenset()
    least: int = 0

    @property
    def spread(self) -> float:
        """Return the standard deviation of a label being right, from a Beta(1, 1) prior and the verdicts.

        Before the first verdict it is 1/2, the maximum. It is never 0, even if every label was right.
        """
        share = (self.right + 1) / (self.judged + 2)
        return math.sqrt(share * (1 - share))


def allocate(strata: Sequence[Stratum], *, per_class: int, floor: int) -> dict[str, int]:
    """Return the number of first places to draw of each stratum, by name.

    Each class gets `per_class` rows, or the sum of its strata's minimums if that is more, or all it has. Rows that have
    been read already come on top. Without verdicts, rows are divided in proportion to the sizes of the strata.

    Args:
        strata: strata of all classes.
        per_class: minimum rows of a class.
        floor: minimum rows of a stratum.

    """
    drawn: dict[str, int] = {}
    for label in sorted({stratum.label for stratum in strata}):
        members = sorted((stratum for stratum in strata if stratum.label == label), key=lambda member: member.name)
        least = {stratum.name: min(stratum.size, max(floor, stratum.least)) for stratum in members}
        target = min(max(per_class, sum(least.values())), sum(stratum.size for stratum in members))
        least = {name: max(rows, least[name]) for name, rows in _covered(members, target).items()}
        shared = _share_out(members, least, max(target, sum(least.values())))
        drawn |= {stratum.name: _go_on(stratum, shared[stratum.name]) for stratum in members}
    return drawn


def _covered(strata: Sequence[Stratum], target: int) -> dict[str, int]:
    """Count the rows read among the first n places, n the number of rows read, scaled down to the target if above.

    Without this a class would need more rows every day, because new drafts take places among those already read.
    """
    read = sum(len(stratum.read) for stratum in strata)
    covered = {}
    for stratum in strata:
        places = len(stratum.read) * min(read, target) // max(read, 1)
        covered[stratum.name] = sum(place <= places for place in stratum.read)
    return covered


def _share_out(strata: Sequence[Stratum], least: dict[str, int], target: int) -> dict[str, int]:
    """Divide `target` rows in proportion to N·S, between the minimum and the size of each stratum."""

    def shares(rate: float) -> dict[str, float]:
        return {s.name: min(max(rate * s.size * s.spread, least[s.name]), s.size) for s in strata}

    # Their sum grows with the rate.
    low, high = 0.0, max(1 / stratum.spread for stratum in strata)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(shares(middle).values()) <= target else (low, middle)
    share = shares(low)
    drawn = {name: math.floor(rows) for name, rows in share.items()}
    # By largest remainder; ties go to the stratum first in the alphabet.
    with_room = [stratum.name for stratum in strata if drawn[stratum.name] < stratum.size]
    with_room.sort(key=lambda name: (drawn[name] - share[name], name))
    for name in with_room[: target - sum(drawn.values())]:
        drawn[name] += 1
    return drawn


def _go_on(stratum: Stratum, rows: int) -> int:
    """Add the next places that have been read already: they cost no reading."""
    while rows + 1 in stratum.read:
        rows += 1
    return rows
