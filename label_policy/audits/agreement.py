"""Agreement of reviewers on the same rows, and the rows whose labels they contradict most instructively."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from label_policy.policy.fields import CLASSES

LEAST_ALPHA = 2 / 3
"""The least alpha for tentative conclusions, by Krippendorff (Content Analysis, 2004)."""

_HALVED = 0.5  # factor on the worth of each further row of the same rule


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement between reviewers.

    Attributes:
        rows: rows with decided verdicts of two or more reviewers.
        same: share of those rows on which all verdicts are equal; None without such rows.
        alpha: Krippendorff's alpha, nominal: 1 is perfect, 0 is chance. None where it is not defined: no such rows,
            or all verdicts on them are equal.

    """

    rows: int
    same: float | None
    alpha: float | None


def agreement(verdicts: Iterable[tuple[str, str, str]]) -> Agreement:
    """Measure the agreement of reviewers.

    Args:
        verdicts: (draft, reviewer, verdict), one per draft and reviewer; undecided verdicts are left out.

    """
    import krippendorff

    by_draft: dict[str, list[str]] = defaultdict(list)
    for draft, _, verdict in verdicts:
        if verdict in CLASSES:
            by_draft[draft].append(verdict)
    several = [draft_verdicts for draft_verdicts in by_draft.values() if len(draft_verdicts) > 1]
    if not several:
        return Agreement(rows=0, same=None, alpha=None)
    # Counts of each verdict by row: alpha needs no reviewer names.
    counts = np.array([[draft_verdicts.count(value) for value in CLASSES] for draft_verdicts in several])
    alpha = None
    if (counts.sum(axis=0) > 0).all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            alpha = float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    return Agreement(
        rows=len(several),
        same=float(np.mean([len(set(draft_verdicts)) == 1 for draft_verdicts in several])),
        alpha=alpha,
    )


def instructive(rows: Sequence[Mapping[str, Any]], most: int = 20) -> list[dict[str, Any]]:
    """Return the rows whose label people contradict, the most instructive first.

    The worth of a row is the number of labels it stands for, times the share of its readers that contradict it. Each
    further reader who contradicts adds half, and a note doubles the worth. Each further row of the same rule counts
    half as much as the one before, so that one bad rule does not fill the list.

    Args:
        rows: `draft_id`, `label`, `rule`, `stands_for` (labels), and `verdicts`: a list of `verdict` and `note`.
        most: maximum number of rows returned.

    Returns:
        The rows, with `against`, the share of readers that contradict.

    """
    scored = []
    for row in rows:
        decided = [verdict["verdict"] for verdict in row["verdicts"] if verdict["verdict"] in CLASSES]
        against = sum(verdict != row["label"] for verdict in decided)
        if 2 * against > len(decided):
            noted = any((verdict["note"] or "").strip() for verdict in row["verdicts"])
            worth = row["stands_for"] * against / len(decided) * (1 + 0.5 * (against - 1)) * (2 if noted else 1)
            scored.append((worth, {**row, "against": against / len(decided)}))
    scored.sort(key=lambda pair: (-pair[0], pair[1]["draft_id"]))
    chosen: list[dict[str, Any]] = []
    chosen_of_rule: Counter[str] = Counter()
    while scored and len(chosen) < most:
        best = max(
            range(len(scored)), key=lambda i: (scored[i][0] * _HALVED ** chosen_of_rule[scored[i][1]["rule"]], -i)
        )
        row = scored.pop(best)[1]
        chosen_of_rule[row["rule"]] += 1
        chosen.append(row)
    return chosen
