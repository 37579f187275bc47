"""What is shown of a run's training, by what it was trained."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.runs.run_view import _show_training


@pytest.mark.parametrize(
    ("objective", "z0", "title"), [("kto", [0.0, 0.5], "KTO training: 2 steps"), ("apo_zero", [None, None], "APO-zero")]
)
def test_training_is_shown_by_its_objective_and_without_what_that_does_not_have(
    tmp_path: Path, objective: str, z0: list[float | None], title: str
) -> None:
    steps = {"loss": [0.5, 0.4], "reward_desirable": [0.0, 0.1], "reward_undesirable": [0.0, -0.1], "z0_raw": z0}
    pq.write_table(pa.table(steps), tmp_path / "metrics.parquet")
    (tmp_path / "training.json").write_text(json.dumps({"kind": objective}))
    train = {"steps": 2, "seconds": 3.0, "rows_seen": 8, "share_of_rows_seen": 0.8}
    summary = {
        "train": train,
        "training_set": {"desirable": 5, "undesirable": 5},
        "candidate": str(tmp_path),
    }
    console = Console(record=True, width=100)
    _show_training(summary, console)
    said = console.export_text()
    assert title in said
    assert "reward, undesirable" in said
    assert ("z0, before the clamp" in said) == (objective == "kto")
