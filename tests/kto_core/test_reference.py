import numpy as np
import pytest

from kto_core import TrainingError
from kto_core.reference import LogpCache
from kto_core.tokenization import Encoded


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
