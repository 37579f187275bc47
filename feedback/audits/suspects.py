"""Labels that a model's scores speak against, found without anybody reading: rows that the next audit is to read.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068, by cleanlab) on the rows that the last evaluation held out.
How the model moved on a draft, how likely it and its reference find it, its length and its category say how likely it
is to be desirable; a logistic regression learns that from other tickets' labels, in turns, so that no label speaks for
itself. Rows whose label is far less likely than those of its class usually are come out, the most doubtful first.

They bias no estimate: in the sample they are strata of their own, which are read whole.
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
"""Of each class: with fewer a regression tells nothing."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A row whose label is doubted: how likely the label is by the model's scores, in [0, 1]."""

    draft_id: str
    label: str
    likely: float


def find_suspects(scores: Path) -> list[Suspect]:
    """Find them.

    Args:
        scores: what `kto_core.evaluate` wrote of the held-out rows. Where there is no such file yet, or too few rows of
            a class in it, nothing is suspected.

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
            f"{scores} cannot be read ({error}); remove it, the next `feedback-kto retrain` writes it again"
        ) from error
    labels = table["desirable"].to_numpy(zero_copy_only=False).astype(np.int64)
    if min(np.bincount(labels, minlength=2)) < FEWEST_ROWS:
        return []
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]

    chances = _chances(table, labels)
    found = find_label_issues(labels, chances, return_indices_ranked_by="self_confidence", n_jobs=1)
    ids = table["row_id"].to_pylist()
    names = (Label.UNDESIRABLE.value, Label.DESIRABLE.value)
    return [
        Suspect(draft_id=ids[row], label=names[labels[row]], likely=round(float(chances[row, labels[row]]), 6))
        for row in found
    ]


def _chances(table: pa.Table, labels: np.ndarray) -> np.ndarray:
    """P(undesirable), P(desirable) of each row by a regression that has not seen its ticket, float [rows, 2]."""
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
    """How far the model moved, per completion and per token, what both find of a token, length, and category."""
    tokens, before, after = (table[name].to_numpy() for name in ("tokens", "before", "after"))
    length = np.maximum(tokens, 1)
    categories = np.array([name or "" for name in table["category"].to_pylist()])
    columns = [after - before, (after - before) / length, before / length, after / length, np.log(length)]
    columns += [(categories == name).astype(float) for name in sorted(set(categories.tolist()))]
    return np.column_stack(columns)
