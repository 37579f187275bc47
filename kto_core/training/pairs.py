"""Training on pairs: DPO, IPO, ORPO or SimPO from a reference model, for comparison with KTO.

Chosen and rejected completions of several pairs pass the model as one batch, in the layout of KTO's rows. A pair's loss
depends on that pair alone, so pairs need no groups: every epoch takes them in a new order, and pairs of similar length
share a forward pass.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from kto_core.base.config import PairConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.objective_registry import OBJECTIVES
from kto_core.base.progress import Paced, Report, silent
from kto_core.base.store import code_version, digest, publish, write_json, write_metrics
from kto_core.data.datasets import TrainingSet
from kto_core.data.groups import plan_steps
from kto_core.data.preferences import Pairs, read_pairs
from kto_core.data.tokenization import Encoded, Encoder, encode_sides
from kto_core.models.logps import Batch, CompletionLogps, share_passes
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
from kto_core.reference.logp_cache import LogpCache
from kto_core.reference.reference_logps import fill, known_logps
from kto_core.training.checkpoints import Checkpoints
from kto_core.training.curves import draw_pair_curve
from kto_core.training.objectives import PairLosses, loss_of
from kto_core.training.step_figures import Figures, summarize_steps
from kto_core.training.step_loop import StepTask, run_steps

FORMAT: Final = 2  # raise it when the same inputs would give other weights
SUMS: Final = (
    "pairs", "loss", "reward_chosen", "reward_rejected", "learned", "completion_chosen", "completion_rejected", "tokens"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReadyPair:
    """A pair with everything its loss needs besides the policy.

    Attributes:
        chosen: tokens of the prompt and the preferred completion.
        rejected: tokens of the prompt and the rejected completion.
        reference_logps: log π_ref of both; NaN where the objective does not read it.
        weight: weight of its loss.
    """

    chosen: Encoded
    rejected: Encoded
    reference_logps: tuple[float, float]
    weight: float

    @property
    def tokens(self) -> int:
        """Tokens of both rows."""
        return len(self.chosen.ids) + len(self.rejected.ids)


def train_pairs(
    *,
    reference: Path,
    training_set: Path,
    config: PairConfig,
    store: Path,
    cache: Path,
    checkpoint_seconds: float = 60.0,
    report: Report = silent,
) -> Path:
    """Train a candidate from `reference` on the pairs of `training_set`; a candidate already in `store` is reused.

    A killed run resumes at its last checkpoint.

    Args:
        reference: a model folder: π_ref, and where π starts.
        training_set: a training-set folder; see `kto_core.data.preferences` for its pairs.
        config: how to train.
        store: folder of model folders.
        cache: folder of the log-probability cache.
        checkpoint_seconds: seconds between checkpoints, written beside the models; 0 is every step.
        report: called with the stages `tokenize` (pairs), `reference` (rows), and the objective's name (steps; figures
            loss, margin, accuracy).

    Returns:
        store/<objective>-<id> with safetensors (LoRA merged), tokenizer, training.json, metrics.parquet and curve.png.

    Raises:
        TrainingError: if there are no pairs, or the model or the device does not support the config.
    """
    report = Paced(report)
    started = time.monotonic()
    data = TrainingSet.open(Path(training_set))
    inputs = {"reference": model_hash(Path(reference)), "training_set": data.version}
    name = f"{config.objective}-{digest({'format': FORMAT, 'inputs': inputs, 'config': config.to_dict()})[:16]}"
    folder = Path(store) / name
    if folder.is_dir():
        report(config.objective, 1, 1, "folder reused")
        return folder

    pairs = read_pairs(data, "train", data.rows("train"))
    pairs.require(data.folder)
    steps = plan_steps(
        len(pairs),
        batch_groups=config.batch_pairs,
        epochs=config.epochs if config.steps is None else math.ceil(config.steps * config.batch_pairs / len(pairs)),
        max_steps=config.steps,
        seed=config.seed,
    )
    accelerator = make_accelerator(config.precision, tracker=config.tracker, project_dir=str(Path(store) / "logs"))
    if config.batch_pairs % accelerator.num_processes:
        raise TrainingError(
            f"PairConfig.batch_pairs = {config.batch_pairs} cannot be shared by {accelerator.num_processes} "
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
        places = sorted({pair for step in steps for pair in step})
        ready, computed = _prepare(pairs, places, encoder, model, logps, config, accelerator, report)
    policy = adapted(model, rank=config.lora_rank, alpha=config.lora_alpha)
    checkpoints = Checkpoints(
        folder.parent / f".{folder.name}.checkpoints", seconds=checkpoint_seconds, accelerator=accelerator
    )
    metrics, network = run_steps(
        CompletionLogps(policy),
        [[ready[pair] for pair in step] for step in steps],
        StepTask(
            name=config.objective,
            accumulate=partial(accumulate, config=config, accelerator=accelerator),
            shown=("loss", "margin", "accuracy"),
        ),
        learning_rate=config.learning_rate or peak_rate(policy, lora_rank=config.lora_rank),
        config=config,
        accelerator=accelerator,
        checkpoints=checkpoints,
        report=report,
    )
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
            "pairs": {
                "given": len(pairs),
                "from_preferences": pairs.preferred,
                "from_choice_sets": len(pairs) - pairs.preferred,
                "refused": pairs.refused,
                "same_when_cut": sum(pair.chosen.key() == pair.rejected.key() for pair in ready.values()),
                "seen": len(places),
                "share_seen": len(places) / len(pairs),
            },
            "checkpoints": {"resumed_after": checkpoints.resumed_after, "torn": checkpoints.torn},
            "reference_cache": {"computed": computed},
            "metrics": summarize(metrics) | {"seconds": round(time.monotonic() - started, 2)},
            "code_version": code_version(),
        }
        with publish(folder) as scratch:
            save(full_model, tokenizer, scratch)
            write_metrics(scratch / "metrics.parquet", metrics)
            draw_pair_curve(metrics, scratch / "curve.png", objective=config.objective)
            write_json(scratch / "training.json", record | {"weights_hash": weights_hash(scratch)})
    checkpoints.remove()
    end_run(accelerator)
    return folder


def pair_loss(
    logps: Tensor, lengths: Tensor, reference_logps: Tensor, weights: Tensor, config: PairConfig
) -> PairLosses:
    """Return the loss of P pairs by the config's objective, from log-probabilities of completions, chosen ones first.

    Args:
        logps: log π, [2P], with gradient.
        lengths: completion tokens, [2P].
        reference_logps: log π_ref, [2P]; NaN where the objective does not read it.
        weights: weights of the losses, [P].
        config: the objective and its parameters.
    """
    objective = OBJECTIVES[config.objective]
    read = [*logps.chunk(2), *(reference_logps.chunk(2) if objective.reference else ())]
    more = {name: getattr(config, name) for name in objective.settings}
    if objective.lengths:
        more["chosen_lengths"], more["rejected_lengths"] = lengths.chunk(2)
    losses: PairLosses = loss_of(objective)(*read, **more, weights=weights)
    return losses


def accumulate(
    network: Any,  # noqa: ANN401 - whatever accelerate wrapped CompletionLogps in
    pairs: Sequence[ReadyPair],
    config: PairConfig,
    accelerator: Accelerator,
) -> Figures:
    """Add gradients of the step's mean loss; each process takes its share of the pairs. Returns figures of all."""
    parts = share_passes(
        pairs,
        partial(_passes, tokens=config.batch_tokens),
        process=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    sums = torch.zeros(len(SUMS), device=accelerator.device, dtype=torch.float64)
    for i, (part, counts) in enumerate(parts):
        with nullcontext() if i == len(parts) - 1 else accelerator.no_sync(network):
            rows = [pair.chosen for pair in part] + [pair.rejected for pair in part]
            lengths = torch.tensor([row.completion_tokens for row in rows], device=accelerator.device)
            logps_by_side = [[pair.reference_logps[side] for pair in part] for side in (0, 1)]
            reference_logps = torch.tensor(logps_by_side, device=accelerator.device).flatten()
            logps = network(Batch.collate(rows).to(accelerator.device))
            weights = torch.tensor([pair.weight for pair in part], device=accelerator.device)
            losses, good, bad = pair_loss(logps, lengths, reference_logps, weights, config)
            # Gradients are averaged over processes, so the mean over all pairs needs their number as a factor.
            accelerator.backward(losses.sum() * counts * accelerator.num_processes / len(pairs))
            columns = (torch.ones_like(good), losses.detach(), good, bad, good > bad, *lengths.chunk(2))
            of_tokens = sums.new_tensor(sum(pair.tokens for pair in part))
            sums += counts * torch.stack([*(column.double().sum() for column in columns), of_tokens])
    return describe(dict(zip(SUMS, accelerator.reduce(sums, reduction="sum").tolist(), strict=True)))


def _passes(pairs: Sequence[ReadyPair], tokens: int) -> list[list[ReadyPair]]:
    """Split pairs into passes of similar length: at most `tokens` tokens when padded to the longest, or one pair."""
    parts: list[list[ReadyPair]] = []
    for pair in sorted(pairs, key=lambda pair: pair.tokens):
        if not parts or (len(parts[-1]) + 1) * pair.tokens > tokens:
            parts.append([])
        parts[-1].append(pair)
    return parts


def _prepare(
    pairs: Pairs,
    places: Sequence[int],
    encoder: Encoder,
    model: PreTrainedModel,
    cache: LogpCache,
    config: PairConfig,
    accelerator: Accelerator,
    report: Report,
) -> tuple[dict[int, ReadyPair], int]:
    """Return the pairs at `places`, ready for training, and the count of reference logps that were computed."""
    readers = (pairs.side("chosen").pairs, pairs.side("rejected").pairs)
    sides = encode_sides(encoder, places, *readers, unit="pairs", report=report)
    computed = 0
    logps = np.full((2, len(places)), math.nan)
    if OBJECTIVES[config.objective].reference:
        computed = fill(
            cache,
            [*sides[0], *sides[1]],
            model=model,
            accelerator=accelerator,
            batch_tokens=config.batch_tokens,
            report=report,
        )["computed"]
        logps = np.array([known_logps(cache, side) for side in sides])
    ready = {
        place: ReadyPair(
            chosen=chosen,
            rejected=rejected,
            reference_logps=(float(good), float(bad)),
            weight=float(pairs.weights[place]),
        )
        for place, chosen, rejected, good, bad in zip(places, *sides, *logps, strict=True)
    }
    return ready, computed


def describe(sums: Mapping[str, float]) -> Figures:
    """Return means over the step's pairs; `accuracy` is the share whose chosen reward is the greater."""
    names = [name for name in SUMS if name not in ("pairs", "learned", "tokens")]
    means = {name: sums[name] / sums["pairs"] for name in names}
    return {
        "pairs": sums["pairs"],
        "tokens": sums["tokens"],
        **means,
        "margin": means["reward_chosen"] - means["reward_rejected"],
        "accuracy": sums["learned"] / sums["pairs"],
    }


def summarize(metrics: Sequence[Figures]) -> Figures:
    """Return figures of a run, as means over the last tenth of its steps."""
    of_last = ("reward_chosen", "reward_rejected", "margin", "accuracy", "grad_norm")
    return summarize_steps(metrics, of_last=of_last)
