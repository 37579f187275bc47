"""Estimate the precision of labels from the rows of a stratified sample that people have read.

The order within a stratum is random, so the rows read are a simple random sample of it, and each stands for stratum
size ÷ rows read. Precision is the weighted mean. Its interval is Wilson's on the effective sample size (Korn and
Graubard, Survey Methodology 24, 1998): the size of a simple random sample with the same variance. Wilson's interval,
because most labels are right: around 99 % the usual interval has no width where all rows read are right, and its
coverage is too low elsewhere.

The labels are a finite population, sampled without replacement (Cochran, Sampling Techniques, 1977, ch. 5): a stratum
that was read completely has no uncertainty.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from label_policy.exceptions import PolicyError

_PSEUDO_ROWS = 2.0
"""Rows of the overall share that are added to a stratum to estimate its variance from few rows."""

_TOWARDS_TIER = 10.0
"""Rows of the tier's precision that are added to a rule's own."""


class Interval(NamedTuple):
    """A share, its confidence interval, and the size of a simple random sample with the same interval."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    effective: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimated precision of a group of labels, from verdicts.

    Attributes:
        labels: labels in the group; an estimate from the sample where the group cuts across strata.
        sampled: rows of the group that were drawn for reading.
        read: drawn rows that people have read.
        simulated: drawn rows that only have a simulated verdict, which counts.
        unsure: rows, read or simulated, on which no verdict decided.
        precision: share of the labels that are right; None without a decided row.
        low: lower bound of its interval, likewise `high`.
        effective: size of a simple random sample with the same interval; None where every label was judged.
        covered: share of the labels in strata with a judged row; the others are assumed to be like these.

    """

    labels: float
    sampled: int
    read: int
    unsure: int
    precision: float | None
    low: float | None
    high: float | None
    effective: float | None
    covered: float
    simulated: int = 0

    @property
    def answered(self) -> int:
        """Count the rows with a verdict, of people or simulated: the basis of the estimate."""
        return self.read + self.simulated


def estimate(
    strata: Sequence[object], sizes: Sequence[float], right: Sequence[float | None], answered: Sequence[bool],
    *, simulated: Sequence[bool] = (), confidence: float = 0.95,
) -> Estimate:  # fmt: skip
    """Estimate the precision of a group of labels from its drawn rows.

    Args:
        strata: the stratum of each drawn row [rows].
        sizes: labels of the group in that stratum [rows].
        right: share of its readers that agree with the label, in [0, 1]; None where no reader decided, or nobody has
            read it [rows].
        answered: whether it has a verdict [rows].
        simulated: whether that verdict is simulated [rows]; by default none is.
        confidence: confidence level of the interval, in (0, 1).

    Raises:
        PolicyError: a stratum has more judged rows than labels.

    """
    names, place, sampled = np.unique(
        np.array([str(name) for name in strata], dtype=object), return_inverse=True, return_counts=True
    )
    size = np.zeros(len(names))
    size[place] = np.asarray(sizes, dtype=float)
    share = np.array([np.nan if value is None else value for value in right], dtype=float)
    judged = np.isfinite(share)
    rows = np.bincount(place, weights=judged, minlength=len(names))
    total = np.bincount(place, weights=np.where(judged, share, 0.0), minlength=len(names))
    if (rows > size + 1e-6).any():
        worst = names[np.argmax(rows - size)]
        raise PolicyError(f"stratum {worst!r} has more judged rows than labels; draw the audit sample again")
    has_judged = rows > 0
    counts = Estimate(
        labels=float(size.sum()),
        sampled=int(sampled.sum()),
        read=int(np.sum(answered)) - int(np.sum(simulated)),
        simulated=int(np.sum(simulated)),
        unsure=int(np.sum(answered)) - int(judged.sum()),
        precision=None,
        low=None,
        high=None,
        effective=None,
        covered=0.0,
    )
    if not has_judged.any():
        return counts
    measured = interval(rows[has_judged], total[has_judged], size[has_judged], confidence=confidence)
    precision, low, high, effective = (float(value) for value in measured)
    return replace(
        counts,
        precision=precision,
        low=low,
        high=high,
        effective=effective if np.isfinite(effective) else None,
        covered=float(size[has_judged].sum() / size.sum()),
    )


def interval(judged: np.ndarray, right: np.ndarray, sizes: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Return the share that is right, over strata, with its interval.

    A stratum's variance uses its own share mixed with two rows of the overall share: five rows that are all right do
    not show that the stratum has none wrong. Few errors do not show that strata differ either, so the effective size is
    at most the one that follows from weights and sampling fractions (Kish). Without this limit, where one large stratum
    showed no error by chance, the lower bound was above the truth in up to a third of the draws, not in 2.5 %; with it,
    intervals cover slightly more than their level. Student's t in place of the normal, on rows minus strata, follows
    Korn and Graubard.

    Args:
        judged: rows of each stratum, at least 1, float [..., strata].
        right: number of them that are right; a row on which readers differ counts in part [..., strata].
        sizes: labels of each stratum [..., strata].
        confidence: confidence level, in (0, 1).

    Returns:
        Arrays [...].

    """
    from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]

    weight = sizes / sizes.sum(axis=-1, keepdims=True)
    share = np.clip((weight * right / judged).sum(axis=-1), 0.0, 1.0)
    rows = judged.sum(axis=-1)
    # Half a right row and half a wrong row are added, so that no variance is exactly 0 (Jeffreys).
    overall_share = ((share * rows + 0.5) / (rows + 1))[..., None]
    smooth = (right + _PSEUDO_ROWS * overall_share) / (judged + _PSEUDO_ROWS)
    unjudged = np.clip(1 - judged / sizes, 0.0, 1.0)  # of each stratum, unjudged: the finite population correction
    variance = (weight**2 * unjudged * smooth * (1 - smooth) / judged).sum(axis=-1)
    overall = (weight * smooth).sum(axis=-1)
    with np.errstate(divide="ignore"):
        by_variance = overall * (1 - overall) / variance
        by_weights = 1 / (weight**2 * unjudged / judged).sum(axis=-1)
    effective = np.minimum(by_variance, by_weights)
    strata = (judged > 0).sum(axis=-1)
    tail = 1 - (1 - confidence) / 2
    effective = effective * (
        (stdtrit(np.maximum(rows - 1, 1), tail) / stdtrit(np.maximum(rows - strata, 1), tail)) ** 2
    )
    complete = np.isinf(effective)  # every label was judged
    low, high = _wilson(share, np.where(complete, 1.0, effective), ndtri(tail))
    low, high = np.where(complete, share, np.minimum(low, share)), np.where(complete, share, np.maximum(high, share))
    return Interval(share, low, high, effective)


def rows_to_show(bound: float, *, confidence: float) -> int:
    """Return the number of rows of a tier that can show that more than `bound` of its labels are right.

    With this number, a precision two thirds of the way from the bound to 1 has its interval above the bound: Wilson's
    lower end is at the bound where (p − b)² = z²·b·(1 − b)/n (Wilson, 1927). With fewer rows a good tier could fail for
    lack of rows; an excellent tier needs a third of them.

    Args:
        bound: the least precision, in [0, 1).
        confidence: level of the interval.

    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.ceil(9 / 4 * z**2 * bound / (1 - bound)) if bound < 1 else sys.maxsize


def _wilson(share: np.ndarray, rows: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's interval (JASA 22, 1927) of a share among `rows` rows [...], z standard deviations either way."""
    centre = share + z**2 / (2 * rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    scale = 1 + z**2 / rows
    return np.clip((centre - half) / scale, 0.0, 1.0), np.clip((centre + half) / scale, 0.0, 1.0)


def difference(before: Estimate, after: Estimate) -> tuple[float, float, float] | None:
    """Return the change of precision, with its interval (Newcombe, Statistics in Medicine 17, 1998, method 10).

    None where either precision is unknown.
    """
    if before.precision is None or after.precision is None:
        return None
    assert before.low is not None and before.high is not None and after.low is not None and after.high is not None
    moved = after.precision - before.precision
    down = np.hypot(after.precision - after.low, before.high - before.precision)
    up = np.hypot(after.high - after.precision, before.precision - before.low)
    return moved, float(moved - down), float(moved + up)


def towards(own: Estimate, wider: Estimate) -> float | None:
    """Return a rule's precision mixed with ten rows of its tier's, because few rows of a rule say little.

    None where both are unknown.
    """
    if wider.precision is None or own.precision is None:
        return wider.precision
    rows = own.answered - own.unsure
    return (rows * own.precision + _TOWARDS_TIER * wider.precision) / (rows + _TOWARDS_TIER)
