"""Training in two processes that `accelerate launch` starts, on the CPU over gloo, against training in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from kto_core import KTOConfig, train_kto
from kto_core.models import load

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from accelerate import DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
import kto_core.kto
from kto_core import KTOConfig, train_kto

torch.set_num_threads(1)
places, config, sharded = json.loads(sys.argv[1])
make = kto_core.kto.make_accelerator

def make_sharded(*args, **options):
    # accelerate offers FSDP on GPUs only, although torch shards on CPUs as well.
    accelerator = make(*args, **options)
    accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    return accelerator

if sharded:
    kto_core.kto.make_accelerator = make_sharded
train_kto(**{name: Path(place) for name, place in places.items()}, config=KTOConfig(**config), checkpoint_seconds=0)
"""
COMPARED = ("loss", "z0_raw", "z0", "margin", "grad_norm", "grad_norm_desirable", "kl")


def launch(folder: Path, places: dict[str, Path], config: dict[str, object], *, sharded: bool) -> None:
    script = folder / "train.py"
    script.write_text(SCRIPT)
    given = json.dumps([{name: str(place) for name, place in places.items()}, config, sharded])
    launcher = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--num_processes", "2"]
    settings = {"num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no", "main_process_port": "0"}
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [*launcher, "--multi_gpu", *flags, str(script), given],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("sharded", "settings"),
    [(False, {"lora_rank": 2}), (True, {"gradient_checkpointing": True})],
    ids=["replicated, LoRA", "FSDP, all weights"],
)
def test_two_processes_train_as_one_does(sharded, settings, reference, training_set, tmp_path):
    config = {
        "max_steps": 4,
        "batch_groups": 2,
        "beta": 0.5,
        "learning_rate": 1e-3,
        "class_gradients_every": 2,
    } | settings
    places = {"reference": reference, "training_set": training_set, "cache": tmp_path / "cache"}
    launch(tmp_path, places | {"store": tmp_path / "two"}, config, sharded=sharded)
    one = train_kto(**places, store=tmp_path / "one", config=KTOConfig(**config))
    two = tmp_path / "two" / one.name
    figures = [pq.read_table(folder / "metrics.parquet").to_pylist() for folder in (one, two)]
    for alone, together in zip(*figures, strict=True):
        for name in COMPARED:
            assert together[name] == pytest.approx(alone[name], abs=1e-6)
    weights = [load(folder)[0].state_dict() for folder in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=0)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert [path.name for path in (tmp_path / "two").iterdir()] == [one.name], "no checkpoint is left"
