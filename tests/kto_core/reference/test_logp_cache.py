import math
import sqlite3

import numpy as np
import pytest
import torch

from kto_core import TrainingError
from kto_core.base.progress import silent
from kto_core.data.tokenization import Encoded
from kto_core.models.model_folders import load
from kto_core.models.optimization import make_accelerator
from kto_core.reference.logp_cache import LogpCache
from kto_core.reference.reference_logps import fill
from tests.kto_core.processes import ended, open_cache, start


def row(*ids: int, start: int = 1) -> Encoded:
    return Encoded(ids=np.array(ids, dtype=np.int32), start=start)


def test_what_was_put_is_found_again_by_tokens_and_start(tmp_path):
    rows = [row(1, 2, 3), row(1, 2, 3, start=2), row(4, 5)]
    with LogpCache(tmp_path / "cache", weights="w", precision="float32") as cache:
        assert cache.get(rows) == [None] * 3
        cache.put(rows[:2], [-1.5, -0.25])
    with LogpCache(tmp_path / "cache", weights="w", precision="float32") as cache:
        assert cache.get([*rows, row(1, 2, 3)]) == [-1.5, -0.25, None, -1.5]


@pytest.mark.parametrize(("weights", "precision"), [("other", "float32"), ("w", "bfloat16")])
def test_other_weights_or_precision_share_nothing(tmp_path, weights, precision):
    with LogpCache(tmp_path, weights="w", precision="float32") as cache:
        cache.put([row(1, 2)], [-1.0])
    with LogpCache(tmp_path, weights=weights, precision=precision) as cache:
        assert cache.get([row(1, 2)]) == [None]


def test_many_rows_are_asked_for_at_once(tmp_path):
    rows = [row(i, i + 1) for i in range(1700)]
    with LogpCache(tmp_path, weights="w", precision="float32") as cache:
        cache.put(rows, [-float(i) for i in range(1700)])
        assert cache.get(rows) == [-float(i) for i in range(1700)]


def test_a_file_that_is_no_cache_is_named(tmp_path):
    (tmp_path / "logps.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(TrainingError, match=r"logps.sqlite cannot be used as a cache .*; remove it"):
        LogpCache(tmp_path, weights="w", precision="float32")


def test_processes_open_a_fresh_cache_at_once(tmp_path):
    for name in "ab":
        (meet := tmp_path / f"meet {name}").mkdir()
        assert ended(*[start(open_cache, tmp_path / name, meet, 4) for _ in range(4)]) == [0] * 4


def test_a_cache_that_another_process_holds_is_not_to_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("kto_core.reference.logp_cache.WAIT", 0.01)
    with LogpCache(tmp_path, weights="w", precision="float32") as cache:
        holder = sqlite3.connect(tmp_path / "logps.sqlite", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrainingError, match=r"another process has been writing .*; try again") as refused:
            cache.put([row(1, 2)], [-1.0])
        holder.close()
        assert "remove" not in str(refused.value)


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"the folder .*cache cannot be created .*; give a writable one"):
        LogpCache(tmp_path / "file" / "cache", weights="w", precision="float32")


def test_a_damaged_reference_is_named_before_anything_is_kept(reference, tmp_path):
    model, _ = load(reference)
    with torch.no_grad():
        model.get_input_embeddings().weight[3] = math.nan
    rows = [row(4, 5, 6), row(4, 3, 6)]
    with LogpCache(tmp_path, weights="w", precision="float32") as cache:
        with pytest.raises(TrainingError, match="not finite; its weights are damaged"):
            fill(cache, rows, model=model, accelerator=make_accelerator("float32"), batch_tokens=100, report=silent)
        assert cache.get(rows) == [None, None]
