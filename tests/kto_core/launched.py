"""The work of one launch, one training after another: `accelerate launch -m tests.kto_core.launched`."""

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin

import kto_core.__main__
from kto_core import KTOConfig, PairConfig, SFTConfig, train_kto, train_pairs, train_sft
from kto_core.models.optimization import make_accelerator
from tests.kto_core.toy import without_figures

TRAINERS = ("kto_core.training.kto", "kto_core.training.pairs", "kto_core.training.sft")
COMMON = {"learning_rate": 1e-3, "max_grad_norm": 1e3}
# Rows are few and passes small, so that one process has more of both than the other.
SETTINGS: dict[str, dict[str, object]] = {
    "kto": {"max_steps": 4, "batch_groups": 2, "beta": 0.5, "class_gradients_every": 2},
    "dpo": {"steps": 3, "batch_pairs": 6, "beta": 0.5, "batch_tokens": 100},
    "sft": {"steps": 3, "batch_rows": 5, "batch_tokens": 60},
}
SHARDED = "FSDP, all weights"
RUNS: dict[str, list[tuple[str, dict[str, object]]]] = {
    SHARDED: [
        *((kind, {"gradient_checkpointing": kind == "kto"}) for kind in SETTINGS),
        ("kto", {"precision": "bfloat16", "max_steps": 2}),
        ("kto", {"objective": "apo_zero", "max_steps": 2}),
    ],
    "replicated, LoRA": [
        *((kind, {"lora_rank": 2}) for kind in SETTINGS),
        ("kto", {"lora_rank": 2, "objective": "apo_zero", "max_steps": 2}),
    ],
}


def train(kind: str, settings: Mapping[str, object], places: Mapping[str, Path], store: Path) -> Path:
    """One of the runs; a checkpoint is written every step."""
    arguments = COMMON | SETTINGS[kind] | dict(settings)
    if kind == "sft":
        config = SFTConfig(**arguments)
        return train_sft(
            model=places["reference"], rows=places["corpus"], config=config, store=store, checkpoint_seconds=0
        )
    run, config = (train_kto, KTOConfig(**arguments)) if kind == "kto" else (train_pairs, PairConfig(**arguments))
    names = ("reference", "training_set", "cache")
    return run(**{name: places[name] for name in names}, config=config, store=store, checkpoint_seconds=0)


def make_sharded(precision: str, **options: object) -> Accelerator:
    """An accelerator with FSDP on the CPU: accelerate offers it on GPUs only, although torch shards on both."""
    make_replicated()
    accelerator = make_accelerator(precision, **options)
    accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False
    )
    if precision != "float32":
        accelerator.state.fsdp_plugin.set_mixed_precision(accelerator.mixed_precision)
    return accelerator


def make_replicated() -> None:
    """Go back from shards to copies."""
    PartialState().distributed_type = DistributedType.MULTI_CPU
    AcceleratorState._reset_state()


def main() -> None:
    """Train all runs, then run a command that is refused, and one that ends the process group."""
    torch.set_num_threads(1)
    arguments = json.loads(sys.argv[1])
    assert PartialState(cpu=True).distributed_type is DistributedType.MULTI_CPU
    for way, runs in RUNS.items():
        with ExitStack() as stack:
            for trainer in TRAINERS if way == SHARDED else ():
                stack.enter_context(mock.patch(f"{trainer}.make_accelerator", make_sharded))
            for kind, settings in runs:
                train(
                    kind,
                    settings,
                    {name: Path(place) for name, place in arguments[way].items()},
                    Path(arguments[way]["to"]),
                )
        make_replicated()
    sys.argv[1:] = arguments["refused"]
    try:
        kto_core.__main__.main()
    except SystemExit as refusal:
        assert refusal.code == 1  # and the next command does what it is told
    sys.argv[1:] = arguments["command"]
    kto_core.__main__.main()
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    with without_figures():
        main()
