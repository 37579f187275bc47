"""How many labels of each stratum people should read: Neyman allocation between bounds.

What a class is to have read is shared out in proportion to N·S, a stratum's labels times the standard deviation of a
label's being right in it (Neyman, 1934): more is read where more is at stake and where less is certain. No stratum gets
less than its floor, or than has been read of its first places already, and none more than it has. Which rows have been
read depends on no verdict, so it may decide how many are drawn.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A part of the labels that is drawn from by itself.

    Args:
        name: of the stratum; no two have the same.
        label: the class that it belongs to.
        size: how many labels it holds, at least 1.
        judged: how many of them somebody has called desirable or undesirable.
        right: how many of these verdicts agree with the label.
        read: which of its first places have been read, counted from 1.
        least: how many of its rows its tier needs.

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
        """The standard deviation of a label's being right, by the mean of a Beta(1, 1) prior and the verdicts.

        Before the first verdict it is 1/2, the greatest there is; it never is 0, however often the label was right.
        """
        share = (self.right + 1) / (self.judged + 2)
        return math.sqrt(share * (1 - share))


def allocate(strata: Sequence[Stratum], *, per_class: int, floor: int) -> dict[str, int]:
    """Return how many rows to draw of each stratum, by name: so many of its first places.

    Each class gets `per_class` in all, or what its strata need at least if that is more, or all it has, and beyond that
    what has been read anyway. Where nothing is known of the strata, it is shared out in proportion to their sizes.

    Args:
        strata: of all classes.
        per_class: rows of a class, at least.
        floor: rows of a stratum, at least.

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


def rows_to_show(bound: float, *, confidence: float) -> int:
    """How many rows of a tier can show that more than `bound` of its labels are right.

    So many that a precision two thirds of the way from the bound to 1 has its interval above the bound: Wilson's lower
    end is at the bound where (p − b)² = z²·b·(1 − b)/n (Wilson, 1927). Fewer would let a good tier fail for want of
    rows; that of an excellent one needs a third of them.

    Args:
        bound: the least precision, in [0, 1).
        confidence: of the interval.

    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.ceil(9 / 4 * z**2 * bound / (1 - bound)) if bound < 1 else sys.maxsize


def _covered(strata: Sequence[Stratum], target: int) -> dict[str, int]:
    """How many rows were read of as many first places as were read at all, in proportion if that is above the target.

    Without that, a class would be asked for more with every day that comes: new drafts lie among those that were read.
    """
    read = sum(len(stratum.read) for stratum in strata)
    covered = {}
    for stratum in strata:
        places = len(stratum.read) * min(read, target) // max(read, 1)
        covered[stratum.name] = sum(place <= places for place in stratum.read)
    return covered


def _share_out(strata: Sequence[Stratum], least: dict[str, int], target: int) -> dict[str, int]:
    """Share out `target` rows in proportion to N·S, between what is drawn at least and all there is."""

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
    """Take in the places that follow and have been read: they cost nobody anything."""
    while rows + 1 in stratum.read:
        rows += 1
    return rows
