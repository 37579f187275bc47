"""How far those who read the same rows agree, and which of their disagreements with the policy teach most."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from label_policy.policy.fields import CLASSES

LEAST_ALPHA = 2 / 3
"""What Krippendorff (Content Analysis, 2004) takes for the least that tentative conclusions can rest on."""

_HALVED = 0.5  # what another row of the same rule is worth, each time


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Between reviewers.

    Attributes:
        rows: rows on which two or more have decided.
        same: of those, the share on which all say the same; None without such rows.
        alpha: Krippendorff's, nominal: 1 is perfect, 0 what chance gives. None where it is not defined: no such rows,
            or all verdicts on them are the same.

    """

    rows: int
    same: float | None
    alpha: float | None


def agreement(verdicts: Iterable[tuple[str, str, str]]) -> Agreement:
    """Measure it.

    Args:
        verdicts: (draft, reviewer, verdict), one a draft and reviewer; what is not decided is left out.

    """
    import krippendorff

    by_draft: dict[str, list[str]] = defaultdict(list)
    for draft, _, verdict in verdicts:
        if verdict in CLASSES:
            by_draft[draft].append(verdict)
    several = [said for said in by_draft.values() if len(said) > 1]
    if not several:
        return Agreement(rows=0, same=None, alpha=None)
    # By row, how often each was said: alpha asks for no more, whoever said it.
    counts = np.array([[said.count(value) for value in CLASSES] for said in several])
    alpha = None
    if (counts.sum(axis=0) > 0).all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            alpha = float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    return Agreement(rows=len(several), same=float(np.mean([len(set(said)) == 1 for said in several])), alpha=alpha)


def instructive(rows: Sequence[Mapping[str, Any]], most: int = 20) -> list[dict[str, Any]]:
    """The rows whose label people contradict, those first that teach most.

    A row counts as many labels as it stands for, times the share of its readers that contradict it, half as much again
    for each further reader who does, and twice as much where somebody wrote a note. Each row of a rule that is already
    among those chosen counts half as much as the one before, so that one bad rule does not fill the list.

    Args:
        rows: `draft_id`, `label`, `rule`, `stands_for` (labels), and `verdicts`: a list of `verdict` and `note`.
        most: how many.

    Returns:
        The rows, with `against`, the share of readers that contradict.

    """
    scored = []
    for row in rows:
        said = [verdict["verdict"] for verdict in row["verdicts"] if verdict["verdict"] in CLASSES]
        against = sum(verdict != row["label"] for verdict in said)
        if 2 * against > len(said):
            noted = any((verdict["note"] or "").strip() for verdict in row["verdicts"])
            worth = row["stands_for"] * against / len(said) * (1 + 0.5 * (against - 1)) * (2 if noted else 1)
            scored.append((worth, {**row, "against": against / len(said)}))
    scored.sort(key=lambda pair: (-pair[0], pair[1]["draft_id"]))
    chosen: list[dict[str, Any]] = []
    taken: Counter[str] = Counter()
    while scored and len(chosen) < most:
        best = max(range(len(scored)), key=lambda i: (scored[i][0] * _HALVED ** taken[scored[i][1]["rule"]], -i))
        row = scored.pop(best)[1]
        taken[row["rule"]] += 1
        chosen.append(row)
    return chosen
