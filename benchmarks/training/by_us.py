"""`train_kto` as the pipeline calls it, one step a turn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import kto_core.training.kto
from benchmarks.training.turns import Turns
from kto_core import KTOConfig, train_kto


def main() -> None:
    """Train by the settings in the first argument, one step a turn."""
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    turns = Turns()
    ready = False

    def report(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        nonlocal ready
        if stage != "kto":
            return
        if not ready:
            raise RuntimeError("a step was reported before training began")
        turns.step_done(last=done == total, **figures)

    # Every step is a turn: each is reported at once, and training begins with the first turn.
    kto_core.training.kto.Paced = lambda report: report  # type: ignore[assignment,misc]
    train = kto_core.training.kto.run_steps

    def begin(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401 - passed on as they are
        nonlocal ready
        ready = True
        turns.setup_done()
        return train(*arguments, **keywords)

    kto_core.training.kto.run_steps = begin
    config = KTOConfig(
        group_rows=settings["batch"],
        batch_groups=settings["accumulate"],
        epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        schedule="constant",
        warmup=0.0,
        undesirable_weight=1.0,
        lora_rank=settings["lora_rank"],
        precision=settings["precision"],
        max_prompt_tokens=3072,
        max_completion_tokens=1024,
        class_gradients_every=0,
    )
    candidate = train_kto(
        reference=folder / "model",
        training_set=folder / "set",
        config=config,
        store=folder / "store",
        cache=folder / "cache",
        checkpoint_seconds=1e9,
        report=report,
    )
    record = json.loads((candidate / "training.json").read_text())
    turns.finish(reference_cache=record["reference_cache"])


if __name__ == "__main__":
    main()
