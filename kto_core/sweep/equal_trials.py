"""Find the trials that held-out tickets cannot distinguish from the best one.

The best of many trials often differs from the next by less than other tickets would change. Each trial's figure minus
the best one's gets a 95 % interval over the same resampled tickets (`kto_core.evaluation.bootstrap`). A trial whose
interval contains 0 is as good.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from kto_core.base.config import EvaluationConfig
from kto_core.base.progress import Report
from kto_core.data.datasets import Rows, TrainingSet
from kto_core.evaluation.bootstrap import bootstrap
from kto_core.evaluation.heldout import draw_rows, score_rows, unseen
from kto_core.evaluation.measured_rows import MeasuredRows


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
        self.rows = MeasuredRows.of(Rows(table=self._held.table.take(pa.array(self._drawn)), refused={}))
        """Labels, categories, tickets and choice sets of the scored rows."""

    def of(self, model: Path, *, cache: Path, report: Report) -> np.ndarray:
        """Return the mean token log-probability of each row, float64 [rows]."""
        logps, lengths = score_rows(model, self._held, self._drawn, self._config, cache, "score after", report)
        return np.asarray(logps / lengths)

    def draws(self, measure: str, scores: np.ndarray) -> np.ndarray | None:
        """Return a measure of `evaluate` for these scores over resampled tickets; None with too few rows."""
        statistic = self.rows.statistic(measure, scores)
        return None if statistic is None else bootstrap(*statistic, seed=self._config.seed)
