"""KTO and APO-zero training: from a reference model and a training set to a candidate, group by group.

The steps: plan the groups, prepare them (tokens, log π_ref), train through accelerate, and store the candidate with a
record of all its inputs.
"""

import math
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from kto_core.base.config import KTOConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.objective_registry import OBJECTIVES
from kto_core.base.progress import Paced, Report, silent
from kto_core.base.store import code_version, digest, publish, write_json, write_metrics
from kto_core.data.datasets import Rows, TrainingSet
from kto_core.data.groups import Group, class_weights, mismatch, plan_groups, plan_steps
from kto_core.data.tokenization import Encoder
from kto_core.models.logps import GroupBatch, GroupLogps
from kto_core.models.model_folders import (
    adapted,
    check_context,
    gathered,
    load,
    model_hash,
    save,
    weights_hash,
    without_dropout,
)
from kto_core.models.optimization import end_run, make_accelerator, peak_rate, seeded
from kto_core.models.packing import pack
from kto_core.reference.kl_distance import draw_replies
from kto_core.reference.logp_cache import LogpCache
from kto_core.reference.prepared_rows import ReadyRow, prepare_rows
from kto_core.training.checkpoints import Checkpoints, Trained
from kto_core.training.curves import draw_kto_curve
from kto_core.training.health import Watch
from kto_core.training.noise_correction import Correction, correct, measured_precision
from kto_core.training.objectives import estimate_z0, loss_of
from kto_core.training.step_figures import SUMS, Figures, describe, sum_group, summarize
from kto_core.training.step_loop import StepTask, run_steps

FORMAT = 3  # raise it when the same inputs would give other weights
CLASS_GRADIENTS = {True: "grad_norm_desirable", False: "grad_norm_undesirable"}

GroupedRows = list[list[ReadyRow]]  # of one step, by group


def train_kto(
    *,
    reference: Path,
    training_set: Path,
    config: KTOConfig,
    store: Path,
    cache: Path,
    checkpoint_seconds: float = 60.0,
    report: Report = silent,
) -> Path:
    """Train a candidate from `reference` on `training_set` into `store`; a candidate already there is reused.

    A killed run resumes at its last checkpoint and, on the same machine, ends with the same weights as a run that was
    not killed.

    Args:
        reference: a model folder: π_ref, and where π starts.
        training_set: a training-set folder.
        config: how to train.
        store: folder of model folders.
        cache: folder of the log-probability cache.
        checkpoint_seconds: seconds between checkpoints, written beside the models; 0 is every step.
        report: called with the stages `tokenize` and `reference` (rows), and the objective's name (steps; figures loss,
            margin, and z0 where there is one).

    Returns:
        store/<objective>-<id> with safetensors (LoRA merged), tokenizer, training.json, metrics.parquet and curve.png.

    Raises:
        TrainingError: if the model, the rows or the device do not support the config.
    """
    report = Paced(report)
    started = time.monotonic()
    data = TrainingSet.open(Path(training_set))
    inputs: dict[str, Any] = {"reference": model_hash(Path(reference)), "training_set": data.version}
    if config.noise_correction != "none":  # a later audit of the same rows makes another run
        inputs["precision"] = measured_precision(data.manifest)
    name = f"{config.objective}-{digest({'format': FORMAT, 'inputs': inputs, 'config': config.to_dict()})[:16]}"
    folder = Path(store) / name
    if folder.is_dir():
        report(config.objective, 1, 1, "folder reused")
        return folder

    correction = correct(data.rows("train"), config, inputs.get("precision", {}))
    rows = correction.rows
    groups, steps = plan(rows, config)
    lenders = None
    if OBJECTIVES[config.objective].z0:
        lenders = mismatch(rows.prompt_keys(), rows.table["completion"].to_pylist())
    accelerator = make_accelerator(config.precision, tracker=config.tracker, project_dir=str(Path(store) / "logs"))
    if config.batch_groups % accelerator.num_processes:
        raise TrainingError(
            f"KTOConfig.batch_groups = {config.batch_groups} cannot be shared by {accelerator.num_processes} "
            "processes; make it a multiple of their number"
        )
    seeded(config.seed)
    model, tokenizer = load(Path(reference))
    without_dropout(model)
    check_context(model, prompt=config.max_prompt_tokens, completion=config.max_completion_tokens)
    encoder = Encoder(
        tokenizer, max_prompt_tokens=config.max_prompt_tokens, max_completion_tokens=config.max_completion_tokens
    )
    reference_weights = weights_hash(Path(reference))
    with LogpCache(Path(cache), weights=reference_weights, precision=config.precision) as logps:
        ready, reference_cache = prepare_rows(
            (row for step in steps for index in step for row in groups[index]),
            lenders=lenders,
            rows=rows,
            encoder=encoder,
            model=model,
            cache=logps,
            accelerator=accelerator,
            batch_tokens=config.batch_tokens,
            report=report,
        )
        held_out = None
        if config.kl_prompts and data.holds("heldout"):
            held_out = draw_replies(
                data.rows("heldout"),
                count=config.kl_prompts,
                encoder=encoder,
                model=model,
                weights=reference_weights,
                cache=logps,
                folder=Path(cache),
                accelerator=accelerator,
                batch_tokens=config.batch_tokens,
                report=report,
            )
    policy = adapted(model, rank=config.lora_rank, alpha=config.lora_alpha)
    lambdas = _lambdas(correction, config)
    watch = Watch(beta=config.beta, warns=accelerator.is_main_process)
    ends = {math.ceil(epoch * len(groups) / config.batch_groups) for epoch in range(1, len(steps))} | {len(steps)}
    checkpoints = Checkpoints(
        folder.parent / f".{folder.name}.checkpoints", seconds=checkpoint_seconds, accelerator=accelerator
    )
    metrics, network = run_steps(
        GroupLogps(policy),
        [[[ready[row] for row in groups[index]] for index in step] for step in steps],
        StepTask(
            name=config.objective,
            accumulate=partial(_accumulate, lambdas=lambdas, config=config, accelerator=accelerator),
            shown=("loss", "z0", "margin", "kl"),
            before=partial(_class_gradients, lambdas=lambdas, config=config, accelerator=accelerator),
            after=lambda network, number: {
                "kl": held_out.kl(network, accelerator) if held_out is not None and number in ends else None
            },
            goes_on=lambda metrics: watch.look(metrics) or not config.stop_when_unhealthy,
        ),
        learning_rate=config.learning_rate or peak_rate(policy, lora_rank=config.lora_rank),
        config=config,
        accelerator=accelerator,
        checkpoints=checkpoints,
        report=report,
    )
    if held_out is not None and metrics[-1]["kl"] is None:  # stopped before its end
        metrics[-1]["kl"] = held_out.kl(network, accelerator)
    watch.look(metrics)
    full_model = gathered(
        network,
        lambda: adapted(load(Path(reference))[0], rank=config.lora_rank, alpha=config.lora_alpha),
        accelerator,
    )
    if accelerator.is_main_process:
        record = {
            "kind": config.objective,
            "id": folder.name,
            "inputs": inputs | {"reference_weights": reference_weights, "reference_id": Path(reference).name},
            "config": config.to_dict(),
            "applied": {"desirable_weight": lambdas[0], "undesirable_weight": lambdas[1]},
            "noise": correction.record,
            "rows": _count(rows, seen=len(ready)),
            "groups": len(groups),
            "checkpoints": {"resumed_after": checkpoints.resumed_after, "torn": checkpoints.torn},
            "reference_cache": reference_cache,
            "packed": pack(model),
            "troubles": watch.reported,
            "metrics": summarize(metrics) | {"seconds": round(time.monotonic() - started, 2)},
            "code_version": code_version(),
        }
        with publish(folder) as scratch:
            save(full_model, tokenizer, scratch)
            write_metrics(scratch / "metrics.parquet", metrics)
            draw_kto_curve(metrics, scratch / "curve.png")
            write_json(scratch / "training.json", record | {"weights_hash": weights_hash(scratch)})
    checkpoints.remove()
    end_run(accelerator)
    return folder


def plan(rows: Rows, config: KTOConfig) -> tuple[list[Group], list[list[int]]]:
    """Return groups of rows, and the groups of each optimizer step."""
    groups = plan_groups(
        rows.desirable().tolist(),
        rows.characters().tolist(),
        group_rows=config.group_rows,
        balance=config.balance,
        seed=config.seed,
    )
    steps = plan_steps(
        len(groups),
        batch_groups=config.batch_groups,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    return groups, steps


def _count(rows: Rows, *, seen: int) -> dict[str, object]:
    """Count the rows of the training set, and those that training saw."""
    good = int(rows.desirable().sum())
    return {
        "given": len(rows),
        "desirable": good,
        "undesirable": len(rows) - good,
        "refused": rows.refused,
        "seen": seen,
        "share_seen": seen / len(rows),
    }


def _lambdas(correction: Correction, config: KTOConfig) -> tuple[float, float]:
    good = int(correction.rows.desirable().sum())
    return class_weights(
        good,
        len(correction.rows) - good,
        balance=config.balance,
        desirable_weight=correction.desirable_weight,
        undesirable_weight=correction.undesirable_weight,
    )


def _class_gradients(
    trained: Trained,
    number: int,
    groups: GroupedRows,
    *,
    lambdas: tuple[float, float],
    config: KTOConfig,
    accelerator: Accelerator,
) -> Figures:
    """Return the norm of each class's part of the gradient, in steps that measure it; training is not affected."""
    if not config.class_gradients_every or (number - 1) % config.class_gradients_every:
        return dict.fromkeys(CLASS_GRADIENTS.values())
    norms: Figures = {}
    with torch.random.fork_rng():
        for side, name in CLASS_GRADIENTS.items():
            _accumulate(trained.network, groups, lambdas=lambdas, config=config, accelerator=accelerator, only=side)
            norms[name] = float(accelerator.clip_grad_norm_(trained.network.parameters(), math.inf))
            trained.optimizer.zero_grad()
    return norms


def _accumulate(
    network: Any,  # noqa: ANN401 - whatever accelerate wrapped GroupLogps in
    groups: GroupedRows,
    *,
    lambdas: tuple[float, float],
    config: KTOConfig,
    accelerator: Accelerator,
    only: bool | None = None,
) -> Figures:
    """Add the gradients of the mean loss over the step's rows, or of one class's part of it.

    Each process takes its groups; the figures returned cover all groups.
    """
    objective = OBJECTIVES[config.objective]
    total = sum(map(len, groups))
    own_groups = groups[accelerator.process_index :: accelerator.num_processes]
    sums = torch.zeros(len(SUMS), device=accelerator.device, dtype=torch.float64)
    # Every process takes the same number of groups a pass: FSDP needs all processes in each pass.
    groups_a_pass = max(1, config.batch_tokens // max(sum(len(row.own.ids) for row in group) for group in groups))
    for start in range(0, len(own_groups), groups_a_pass):
        part = own_groups[start : start + groups_a_pass]
        with nullcontext() if start + groups_a_pass >= len(own_groups) else accelerator.no_sync(network):
            rows = [row for group in part for row in group]
            others = [row.mismatched for row in rows if row.mismatched is not None]
            batch = GroupBatch.collate([row.own for row in rows], others or None).to(accelerator.device)
            loss = torch.zeros((), device=accelerator.device)
            own_logps, mismatched_logps = network(batch)
            sizes = list(map(len, part))
            by_group = zip(
                part,
                own_logps.split(sizes),
                [None] * len(part) if mismatched_logps is None else mismatched_logps.split(sizes),
                torch.split(batch.rows.lengths, sizes),
                strict=True,
            )
            for group, logps, kl_logps, lengths in by_group:
                desirable = torch.tensor([row.desirable for row in group], device=accelerator.device)
                weights, reference, reference_kl = torch.tensor(
                    [[row.weight, row.reference_logp, row.reference_kl_logp] for row in group],
                    device=accelerator.device,
                ).unbind(dim=1)
                z0_argument = {} if kl_logps is None else {"z0": estimate_z0(kl_logps, reference_kl)}
                losses, rewards = loss_of(objective)(
                    logps,
                    reference,
                    desirable,
                    beta=config.beta,
                    desirable_weight=lambdas[0],
                    undesirable_weight=lambdas[1],
                    weights=weights,
                    **z0_argument,
                )
                loss = loss + (losses if only is None else losses[desirable == only]).sum()
                z0_raw = None if kl_logps is None else (kl_logps - reference_kl).mean()
                sums[:-2] += sum_group(losses, rewards, lengths, desirable, z0_raw=z0_raw, z0=z0_argument.get("z0"))
            sums[-2:] += sums.new_tensor([batch.tokens, accelerator.unwrap_model(network).computed(batch)])
            # Gradients are averaged over processes, so the mean over all rows needs their number as a factor.
            accelerator.backward(loss * accelerator.num_processes / total)
    reduced = accelerator.reduce(sums, reduction="sum")
    return describe(dict(zip(SUMS, reduced.tolist(), strict=True)))
