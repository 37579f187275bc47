"""Suspects: labels that a model's scores contradict, for the next audit to read.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068, by cleanlab) on the rows that the last evaluation held out.
A logistic regression predicts whether a draft is desirable, from how far the model moved on it, how likely the model
and its reference find it, its length and its category. It learns from other tickets' labels (cross-validation), so no
label predicts itself. A row is a suspect if its label is far less likely than is usual in its class.

Suspects bias no estimate: they are strata of their own in the sample, and these are read whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.exceptions import FeedbackError
from label_policy import Label

_FOLDS: Final = 5
FEWEST_ROWS: Final = 50
"""Rows of each class; a regression on fewer is not informative."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A row with a doubtful label; `likely` is the label's probability by the model's scores, in [0, 1]."""

    draft_id: str
    label: str
    likely: float


def find_suspects(scores: Path) -> list[Suspect]:
    """Find the rows whose labels the scores contradict.

    Args:
        scores: the file that `kto_core.evaluate` wrote for the held-out rows. Without the file, or with too few rows
            of a class in it, there are no suspects.

    Returns:
        The most doubtful first.

    Raises:
        FeedbackError: the file cannot be read.

    """
    if not scores.is_file():
        return []
    try:
        table = pq.read_table(scores)
    except (OSError, pa.ArrowInvalid) as error:
        raise FeedbackError(
            f"{scores} cannot be read ({error}); remove it, and the next `feedback-kto retrain` writes it again"
        ) from error
    labels = table["desirable"].to_numpy(zero_copy_only=False).astype(np.int64)
    if min(np.bincount(labels, minlength=2)) < FEWEST_ROWS:
        return []
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]

    chances = _chances(table, labels)
    doubtful = find_label_issues(labels, chances, return_indices_ranked_by="self_confidence", n_jobs=1)
    ids = table["row_id"].to_pylist()
    names = (Label.UNDESIRABLE.value, Label.DESIRABLE.value)
    return [
        Suspect(draft_id=ids[row], label=names[labels[row]], likely=round(float(chances[row, labels[row]]), 6))
        for row in doubtful
    ]


def _chances(table: pa.Table, labels: np.ndarray) -> np.ndarray:
    """Return P(undesirable), P(desirable) of each row by a regression without its ticket, float [rows, 2]."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    tickets = np.array(table["ticket_id"].to_pylist(), dtype=object).astype(str)
    folds = min(_FOLDS, len(set(tickets)))
    if folds < 2:
        return np.tile(np.bincount(labels, minlength=2) / len(labels), (len(labels), 1))
    return np.asarray(
        cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            _features(table),
            labels,
            groups=tickets,
            cv=GroupKFold(folds),
            method="predict_proba",
        )
    )


def _features(table: pa.Table) -> np.ndarray:
    """Return each row's features, float [rows, features].

    How far the model moved, per completion and per token; both models' log-probability a token; length; category.
    """
    tokens, before, after = (table[name].to_numpy() for name in ("tokens", "before", "after"))
    length = np.maximum(tokens, 1)
    categories = np.array([name or "" for name in table["category"].to_pylist()])
    columns = [after - before, (after - before) / length, before / length, after / length, np.log(length)]
    columns += [(categories == name).astype(float) for name in sorted(set(categories.tolist()))]
    return np.column_stack(columns)
