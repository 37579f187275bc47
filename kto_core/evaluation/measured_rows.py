"""Measures of scores on held-out rows over resampled tickets, shared by comparison and sweep."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from kto_core.data.datasets import Rows
from kto_core.data.ranking_scores import choice_accuracy, choice_sets
from kto_core.evaluation.bootstrap import Statistic, auc_of, balanced_accuracy_of, mean_of
from kto_core.evaluation.heldout import fold_of

FEWEST: Final = 30  # rows of a class, choice sets, or pairs; chance alone decides about fewer


@dataclass(frozen=True, kw_only=True)
class MeasuredRows:
    """The data of R rows that measures need besides scores.

    Attributes:
        desirable: bool [R].
        categories: category of each row.
        tickets: ticket of each row.
        sets: rows of each prompt that has both classes.
    """

    desirable: np.ndarray
    categories: np.ndarray
    tickets: np.ndarray
    sets: list[np.ndarray]

    @classmethod
    def of(cls, rows: Rows) -> "MeasuredRows":
        """Read the data from rows of a training set."""
        return cls(
            desirable=rows.desirable(),
            categories=np.array([category or "none" for category in rows.table["category"].to_pylist()]),
            tickets=np.array([str(ticket) for ticket in rows.table["ticket_id"].to_pylist()]),
            sets=choice_sets(rows.prompt_keys(), rows.desirable()),
        )

    def statistic(self, measure: str, scores: np.ndarray) -> tuple[Statistic, np.ndarray] | None:
        """Return a measure of `kto_core.evaluate` for these scores.

        Args:
            measure: `auc`, `auc_within`, `accuracy` or `choice_accuracy`.
            scores: score of each row; the higher, the more desirable.

        Returns:
            A function of how often each row or set counts, and the ticket of each; None with too few rows.
        """
        if measure == "choice_accuracy":
            if len(self.sets) < FEWEST:
                return None
            won = [choice_accuracy(scores, self.desirable, [members]) for members in self.sets]
            return mean_of(np.array(won, dtype=float)), self.tickets[[members[0] for members in self.sets]]
        good = int(self.desirable.sum())
        if min(good, len(self.desirable) - good) < FEWEST:
            return None
        if measure == "accuracy":
            folds = np.array([fold_of(ticket) for ticket in self.tickets])
            return balanced_accuracy_of(scores, self.desirable, folds), self.tickets
        groups = self.categories if measure == "auc_within" else None
        return auc_of(scores, self.desirable, groups), self.tickets
