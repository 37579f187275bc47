"""TRL's own `KTOTrainer`, one step a turn; online, or with log π_ref computed before training."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()  # an empty folder for its cache of log π_ref

import datasets
import torch
from transformers import TrainerCallback, TrainerState
from trl import KTOConfig, KTOTrainer

from benchmarks.training.turns import Turns

datasets.disable_progress_bars()


class _Taking(TrainerCallback):
    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def on_train_begin(self, *_: object, **__: object) -> None:
        self._turns.setup_done()

    def on_step_end(self, _: object, state: TrainerState, __: object, **___: object) -> None:
        self._turns.step_done(last=state.global_step == state.max_steps)


def main() -> None:
    """Train by the settings in the first argument, one step a turn."""
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    turns = Turns()
    config = KTOConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["batch"],
        gradient_accumulation_steps=settings["accumulate"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        beta=0.1,
        desirable_weight=1.0,
        undesirable_weight=1.0,
        max_length=None,  # the default, 1024, would cut the long rows off
        precompute_ref_log_probs=settings["precompute"],
        bf16=settings["precision"] == "bfloat16",  # on by default, as gradient checkpointing is
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    peft_config = None
    if settings["lora_rank"]:
        from peft import LoraConfig

        peft_config = LoraConfig(
            r=settings["lora_rank"], lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    trainer = KTOTrainer(
        model=str(folder / "model"),
        args=config,
        train_dataset=datasets.load_dataset("parquet", data_files=str(folder / "set" / "rows.parquet"), split="train"),
        callbacks=[_Taking(turns)],
        peft_config=peft_config,
    )
    trainer.train()
    turns.finish()


if __name__ == "__main__":
    main()
