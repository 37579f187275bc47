"""Supervised fine-tuning (SFT): makes the reference that KTO starts from, or takes a model unchanged (`steps=0`).

Cross-entropy over completion tokens only, rows bucketed by length, one folder in the store per (model, rows, config).
"""

import math
import random
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from kto_core.base.config import SFTConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import Paced, Report, silent
from kto_core.base.store import code_version, digest, publish, write_json, write_metrics
from kto_core.data.datasets import Rows, read_corpus
from kto_core.data.tokenization import Encoded, Encoder, encode_sides
from kto_core.models.logps import Batch, CompletionLogps, share_passes, token_batches
from kto_core.models.model_folders import (
    PRESETS,
    adapted,
    check_context,
    gathered,
    load_or_make,
    model_hash,
    parameter_count,
    save,
    weights_hash,
)
from kto_core.models.optimization import end_run, make_accelerator, seeded
from kto_core.training.checkpoints import Checkpoints
from kto_core.training.curves import draw_sft_curve
from kto_core.training.step_figures import Figures, summarize_steps
from kto_core.training.step_loop import StepTask, run_steps

FORMAT = 3  # raise it when the same inputs would give other weights
BUCKET_BATCHES = 32  # rows are sorted by length within this many batches


def train_sft(
    *,
    model: str | Path,
    rows: Path | None,
    config: SFTConfig,
    store: Path,
    checkpoint_seconds: float = 60.0,
    report: Report = silent,
) -> Path:
    """Fine-tune `model` on `rows` into `store`; a result already there is reused.

    A killed run resumes at its last checkpoint.

    Args:
        model: a preset (`tiny`, `smollm2`) or a folder that transformers can load.
        rows: Parquet file or folder with `prompt` and `completion`, or a training set (its desirable side); None only
            with `config.steps == 0`, which leaves the model unchanged.
        config: how to train.
        store: folder of model folders.
        checkpoint_seconds: seconds between checkpoints, written beside the models; 0 is every step.
        report: called with the stages `tokenize` (rows) and `sft` (steps; figures loss, tokens_per_second).

    Returns:
        store/sft-<id> with safetensors, tokenizer, training.json, and metrics.parquet and curve.png if it was trained.

    Raises:
        TrainingError: if the model, the rows or the device do not support the config.

    """
    report = Paced(report)
    corpus = read_corpus(Path(rows)) if rows is not None else None
    if corpus is None and config.steps != 0:
        raise TrainingError("SFT needs rows to learn from; give rows, or steps=0 to take the model unchanged")
    inputs = {
        "model": str(model) if str(model) in PRESETS else model_hash(Path(model)),
        "rows": corpus.content_hash() if corpus is not None else None,
    }
    folder = store / f"sft-{digest({'format': FORMAT, 'inputs': inputs, 'config': config.to_dict()})[:16]}"
    if folder.is_dir():
        report("sft", 1, 1, "folder reused")
        return folder

    accelerator = make_accelerator(config.precision, tracker=config.tracker, project_dir=str(store / "logs"))
    seeded(config.seed)
    started = time.monotonic()
    loaded, tokenizer = load_or_make(str(model), rows=corpus, tiny=config.tiny, seed=config.seed)
    checkpoints = Checkpoints(
        store / f".{folder.name}.checkpoints", seconds=checkpoint_seconds, accelerator=accelerator
    )
    full_model: Any = loaded
    metrics: list[Figures] = []
    seen = 0
    if corpus is not None and config.steps != 0:
        check_context(loaded, prompt=config.max_prompt_tokens, completion=config.max_completion_tokens)
        steps, seen = _steps(tokenizer, corpus, config, report)
        metrics, network = run_steps(
            CompletionLogps(adapted(loaded, rank=config.lora_rank, alpha=config.lora_alpha)),
            steps,
            StepTask(
                name="sft",
                accumulate=partial(_accumulate, batch_tokens=config.batch_tokens, accelerator=accelerator),
                shown=("loss", "tokens_per_second"),
            ),
            learning_rate=config.learning_rate or (2e-3 if str(model) == "tiny" else 2e-5),
            config=config,
            accelerator=accelerator,
            checkpoints=checkpoints,
            report=report,
        )
        full_model = gathered(
            network,
            lambda: adapted(
                load_or_make(str(model), rows=corpus, tiny=config.tiny, seed=config.seed)[0],
                rank=config.lora_rank,
                alpha=config.lora_alpha,
            ),
            accelerator,
        )
    if accelerator.is_main_process:
        with publish(folder) as scratch:
            save(full_model, tokenizer, scratch)
            if metrics:
                write_metrics(scratch / "metrics.parquet", metrics)
                draw_sft_curve(metrics, scratch / "curve.png")
            write_json(
                scratch / "training.json",
                {
                    "kind": "sft",
                    "id": folder.name,
                    "inputs": inputs | {"model_name": str(model) if str(model) in PRESETS else Path(model).name},
                    "config": config.to_dict(),
                    "weights_hash": weights_hash(scratch),
                    "parameters": parameter_count(full_model),
                    "rows": {
                        "given": len(corpus) if corpus else 0,
                        "refused": corpus.refused if corpus else {},
                        "seen": seen,
                    },
                    "checkpoints": {"resumed_after": checkpoints.resumed_after, "torn": checkpoints.torn},
                    "metrics": summarize_steps(metrics) | {"seconds": round(time.monotonic() - started, 2)},
                    "code_version": code_version(),
                },
            )
    checkpoints.remove()
    end_run(accelerator)
    return folder


def _steps(
    tokenizer: PreTrainedTokenizerBase, corpus: Rows, config: SFTConfig, report: Report
) -> tuple[list[list[Encoded]], int]:
    """Return the rows of every step, and the number of distinct rows."""
    steps = config.steps or max(1, math.ceil(config.epochs * len(corpus) / config.batch_rows))
    batches = plan_batches(corpus.characters(), batch_rows=config.batch_rows, steps=steps, seed=config.seed)
    encoder = Encoder(
        tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
    )
    indices = sorted({index for batch in batches for index in batch})
    (encodings,) = encode_sides(encoder, indices, corpus.pairs, unit="rows", report=report)
    encoded = dict(zip(indices, encodings, strict=True))
    return [[encoded[index] for index in batch] for batch in batches], len(encoded)


def _accumulate(
    network: Any,  # noqa: ANN401 - whatever accelerate wrapped CompletionLogps in
    rows: Sequence[Encoded],
    *,
    batch_tokens: int,
    accelerator: Accelerator,
) -> Figures:
    """Add the gradients of the cross-entropy per completion token over all processes' rows. Returns their figures."""
    tokens = sum(row.completion_tokens for row in rows)
    loss = torch.zeros((), device=accelerator.device)
    parts = share_passes(
        rows,
        partial(token_batches, tokens=batch_tokens),
        process=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    for i, (part, counts) in enumerate(parts):
        with nullcontext() if i == len(parts) - 1 else accelerator.no_sync(network):
            logps = network(Batch.collate(part).to(accelerator.device))
            part_loss = -logps.sum() * counts / tokens
            accelerator.backward(part_loss * accelerator.num_processes)
            loss += part_loss.detach()
    return {
        "loss": float(accelerator.reduce(loss, reduction="sum")),
        "completion_tokens": tokens,
        "tokens": sum(len(row.ids) for row in rows),
    }


def plan_batches(lengths: np.ndarray, *, batch_rows: int, steps: int, seed: int) -> list[list[int]]:
    """Return row indices of every step: all rows once an epoch, similar lengths together, in the seed's order."""
    rng = random.Random(seed)
    batches: list[list[int]] = []
    while len(batches) < steps:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        epoch: list[list[int]] = []
        for at in range(0, len(order), batch_rows * BUCKET_BATCHES):
            bucket = sorted(order[at : at + batch_rows * BUCKET_BATCHES], key=lambda i: int(lengths[i]))
            epoch.extend(bucket[i : i + batch_rows] for i in range(0, len(bucket), batch_rows))
        rng.shuffle(epoch)
        batches.extend(epoch)
    return batches[:steps]
