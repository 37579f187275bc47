"""Which trials are as good as the best one, as far as the held-out tickets can tell.

The best of many differs from the next by less than other tickets would change. Each trial's figure minus the best
one's gets a 95 % interval over resampled tickets, the same for both (`kto_core.bootstrap`); a trial whose interval
holds 0 is as good.
"""

from pathlib import Path
from typing import Final

import numpy as np

from kto_core.bootstrap import Statistic, auc_of, balanced_accuracy_of, bootstrap, mean_of
from kto_core.config import EvaluationConfig
from kto_core.data import TrainingSet
from kto_core.evaluation import draw_rows, fold_of, score_rows, unseen
from kto_core.progress import Report
from kto_core.scores import choice_accuracy, choice_sets

FEWEST: Final = 30  # rows of a class, or choice sets; chance alone decides about fewer


class HeldOutScores:
    """Scores of the held-out rows that `kto_core.evaluate` draws.

    Args:
        data: the training set.
        config: which rows, and how they are scored.
    """

    def __init__(self, data: TrainingSet, config: EvaluationConfig) -> None:
        self._held, self._config = data.rows("heldout"), config
        prompts = self._held.prompt_keys()
        fresh = unseen(self._held, prompts, data.rows("train"))
        self._drawn = draw_rows(self._held, prompts, fresh, max_rows=config.max_rows, seed=config.seed)
        self._desirable = self._held.desirable()[self._drawn]
        self._sets = choice_sets([prompts[row] for row in self._drawn], self._desirable)
        tickets, categories = self._held.table["ticket_id"].to_pylist(), self._held.table["category"].to_pylist()
        self._tickets = np.array([str(tickets[row]) for row in self._drawn])
        self._categories = np.array([categories[row] or "none" for row in self._drawn])

    def of(self, model: Path, *, cache: Path, report: Report) -> np.ndarray:
        """Mean token log-probability of each row, float64 [rows]."""
        logps, lengths = score_rows(model, self._held, self._drawn, self._config, cache, "score after", report)
        return np.asarray(logps / lengths)

    def draws(self, measure: str, scores: np.ndarray) -> np.ndarray | None:
        """A measure of `evaluate` by these scores over resampled tickets; None where too few rows can tell."""
        found = self.statistic(measure, scores)
        return None if found is None else bootstrap(*found, seed=self._config.seed)

    def statistic(self, measure: str, scores: np.ndarray) -> tuple[Statistic, np.ndarray] | None:
        """The measure as a function of how often each row or set counts, and whose ticket each is; None likewise."""
        good = int(self._desirable.sum())
        if measure == "choice_accuracy":
            if len(self._sets) < FEWEST:
                return None
            won = [choice_accuracy(scores, self._desirable, [members]) for members in self._sets]
            return mean_of(np.array(won, dtype=float)), self._tickets[[members[0] for members in self._sets]]
        if min(good, len(self._desirable) - good) < FEWEST:
            return None
        if measure == "accuracy":
            folds = np.array([fold_of(ticket) for ticket in self._tickets])
            return balanced_accuracy_of(scores, self._desirable, folds), self._tickets
        groups = self._categories if measure == "auc_within" else None
        return auc_of(scores, self._desirable, groups), self._tickets
