"""Suspects: a model's scores find the wrong labels, and few right ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.audits.suspects import FEWEST_ROWS, find_suspects
from feedback.exceptions import FeedbackError


def write_scores(path: Path, rows: int = 600, wrong: float = 0.05) -> set[str]:
    """Write the scores of a model that has learned the right labels, on partly wrong labels; return the wrong rows."""
    random = np.random.default_rng(3)
    right = random.random(rows) < 0.6
    flipped = random.random(rows) < wrong
    tokens = random.integers(5, 60, rows).astype(float)
    before = -tokens * random.uniform(0.5, 1.0, rows)
    moved = np.where(right, 1.0, -1.0) * random.uniform(1, 4, rows) + random.normal(0, 1, rows)
    names = [f"d{number}" for number in range(rows)]
    table = {
        "row_id": names,
        "ticket_id": [f"t{number // 2}" for number in range(rows)],
        "category": [["refund", "billing", None][number % 3] for number in range(rows)],
        "desirable": (right ^ flipped).tolist(),
        "tokens": tokens,
        "before": before,
        "after": before + moved,
    }
    pq.write_table(pa.table(table), path)
    return {name for name, is_wrong in zip(names, flipped, strict=True) if is_wrong}


def test_wrong_labels_are_found_and_few_others(tmp_path: Path) -> None:
    wrong = write_scores(tmp_path / "scores.parquet")
    suspects = find_suspects(tmp_path / "scores.parquet")
    hits = sum(suspect.draft_id in wrong for suspect in suspects)
    assert hits > 0.7 * len(wrong)
    assert hits > 0.6 * len(suspects), "against one in twenty of all labels"
    assert [suspect.likely for suspect in suspects] == sorted(suspect.likely for suspect in suspects)
    labels = {row["row_id"]: row["desirable"] for row in pq.read_table(tmp_path / "scores.parquet").to_pylist()}
    assert all((suspect.label == "desirable") == labels[suspect.draft_id] for suspect in suspects)
    assert find_suspects(tmp_path / "scores.parquet") == suspects


def test_without_scores_or_with_too_few_nothing_is_suspected(tmp_path: Path) -> None:
    assert find_suspects(tmp_path / "scores.parquet") == []
    write_scores(tmp_path / "scores.parquet", rows=FEWEST_ROWS)
    assert find_suspects(tmp_path / "scores.parquet") == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(FeedbackError, match=r"scores.parquet cannot be read .*; remove it, and the next"):
        find_suspects(tmp_path / "scores.parquet")
