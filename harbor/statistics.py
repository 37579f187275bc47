"""The confidence interval of a share."""

from math import sqrt


def wilson(successes: int, trials: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share, at 95 % by default: (low, high), both in [0, 1].

    Wilson 1927, "Probable inference, the law of succession, and statistical inference". Unlike the normal
    approximation it stays inside [0, 1] and keeps its width at shares near 0 and 1. No trials give (0, 1).
    """
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    spread = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / spread
    margin = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / spread
    return max(0.0, centre - margin), min(1.0, centre + margin)
