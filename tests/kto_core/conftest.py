import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from kto_core.base.config import SFTConfig
from kto_core.training.sft import train_sft
from tests.kto_core.toy import TOY, toy_rows, with_figures, without_figures, write_training_set

torch.set_num_threads(1)  # toy tensors: a second thread only waits


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """No figures are drawn without the fixture `with_figures`."""
    with without_figures():
        yield


@pytest.fixture
def norms_in_float64(monkeypatch):
    """Transformers' RMSNorm rounds to float32 on the way, where 1e-10 cannot be seen."""
    # Here, since kto_core says to transformers as it is loaded that it draws no bars.
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def forward(self, hidden):
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(LlamaRMSNorm, "forward", forward)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "rows.parquet"
    rows = [{"prompt": r["prompt"], "completion": r["completion"]} for r in toy_rows(240, seed=5)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture(scope="session")
def training_set(tmp_path_factory) -> Path:
    return write_training_set(tmp_path_factory.mktemp("set"), toy_rows(160, seed=1), toy_rows(80, seed=2))


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def reference(corpus, store) -> Path:
    config = SFTConfig(steps=25, batch_rows=16, learning_rate=1e-2, tiny=TOY)
    with with_figures():
        return train_sft(model="tiny", rows=corpus, config=config, store=store)
