"""Training in two processes that `accelerate launch` starts, on the CPU over gloo, against training in one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from kto_core import KTOConfig, PairConfig, SFTConfig, train_kto, train_pairs, train_sft
from kto_core.models import load

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin
import kto_core.kto, kto_core.pairs, kto_core.sft
from tests.kto_core.test_processes import train

torch.set_num_threads(1)
Accelerator.end_training = lambda accelerator: None  # the processes stay in touch for the next training
places, store, runs, sharded = json.loads(sys.argv[1])
make = kto_core.kto.make_accelerator
replicated = PartialState(cpu=True).distributed_type

def make_sharded(precision, **options):
    # accelerate offers FSDP on GPUs only, although torch shards on CPUs as well.
    PartialState().distributed_type = replicated
    AcceleratorState._reset_state()
    accelerator = make(precision, **options)
    accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    if precision != "float32":
        accelerator.state.fsdp_plugin.set_mixed_precision(accelerator.mixed_precision)
    return accelerator

if sharded:
    for module in (kto_core.kto, kto_core.pairs, kto_core.sft):
        module.make_accelerator = make_sharded
for kind, settings in runs:
    train(kind, settings, {name: Path(place) for name, place in places.items()}, Path(store))
"""
COMPARED = {
    "kto": ("loss", "z0_raw", "z0", "margin", "grad_norm", "grad_norm_desirable", "kl"),
    "dpo": ("loss", "margin", "accuracy", "grad_norm"),
    "sft": ("loss", "grad_norm"),
}
COMMON = {"learning_rate": 1e-3, "max_grad_norm": 1e3}
# Rows are few and passes small, so that one process has more of both than the other.
SETTINGS = {
    "kto": {"max_steps": 4, "batch_groups": 2, "beta": 0.5, "class_gradients_every": 2},
    "dpo": {"steps": 3, "batch_pairs": 6, "beta": 0.5, "batch_tokens": 100},
    "sft": {"steps": 3, "batch_rows": 5, "batch_tokens": 60},
}
RUNS = {
    "replicated, LoRA": [(kind, {"lora_rank": 2}) for kind in SETTINGS],
    "FSDP, all weights": [
        *((kind, {"gradient_checkpointing": kind == "kto"}) for kind in SETTINGS),
        ("kto", {"precision": "bfloat16", "max_steps": 2}),
    ],
}


def train(kind: str, settings: dict[str, object], places: dict[str, Path], store: Path) -> Path:
    given = COMMON | SETTINGS[kind] | settings
    if kind == "sft":
        config = SFTConfig(**given)
        return train_sft(
            model=places["reference"], rows=places["corpus"], config=config, store=store, checkpoint_seconds=0
        )
    run, config = (train_kto, KTOConfig(**given)) if kind == "kto" else (train_pairs, PairConfig(**given))
    names = ("reference", "training_set", "cache")
    return run(**{name: places[name] for name in names}, config=config, store=store, checkpoint_seconds=0)


def launch(folder: Path, *given: object) -> None:
    script = folder / "train.py"
    script.write_text(SCRIPT)
    launcher = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--num_processes", "2"]
    settings = {"num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no", "main_process_port": "0"}
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [*launcher, "--multi_gpu", *flags, str(script), json.dumps(given, default=str)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-9000:]


@pytest.mark.parametrize("way", RUNS)
def test_two_processes_train_as_one_does(way, reference, training_set, corpus, tmp_path):
    places = {"reference": reference, "training_set": training_set, "corpus": corpus, "cache": tmp_path / "cache"}
    launch(tmp_path, places, tmp_path / "two", RUNS[way], way.startswith("FSDP"))
    names = set()
    for kind, settings in RUNS[way]:
        one = train(kind, settings, places, tmp_path / "one")
        two = tmp_path / "two" / one.name
        names.add(one.name)
        rounds = "precision" in settings  # what lies together in a pass is then seen in the figures
        figures = [pq.read_table(folder / "metrics.parquet").to_pylist() for folder in (one, two)]
        for alone, together in zip(*figures, strict=True):
            for name in COMPARED[kind]:
                if alone[name] is None:  # of one class's gradient not every step has a figure
                    assert together[name] is None
                    continue
                tolerance = {"abs": 0.02} if rounds else {"abs": 1e-6, "rel": 1e-6}
                assert together[name] == pytest.approx(alone[name], **tolerance), (kind, name)
        weights = [load(folder)[0].state_dict() for folder in (one, two)]
        for name, tensor in weights[0].items():
            torch.testing.assert_close(weights[1][name], tensor, atol=5e-3 if rounds else 1e-5, rtol=0)
        assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert {path.name for path in (tmp_path / "two").iterdir()} == names, "no checkpoint is left"
