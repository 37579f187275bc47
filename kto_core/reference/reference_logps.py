"""Compute missing log π_ref with the policy before its first step, when it still equals the reference.

So no second model is ever in memory, and with a warm cache nothing is computed.
"""

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import Report
from kto_core.data.tokenization import Encoded
from kto_core.models.logps import Batch, GroupBatch, GroupLogps, token_batches
from kto_core.reference.logp_cache import LogpCache

CHUNK_BATCHES = 50  # batches whose log-probabilities are written to the cache at a time


@torch.no_grad()
def fill(
    cache: LogpCache,
    rows: Sequence[Encoded],
    others: Sequence[Encoded] | None = None,
    *,
    model: PreTrainedModel,
    accelerator: Accelerator,
    batch_tokens: int,
    report: Report,
) -> dict[str, int]:
    """Compute and store missing log-probabilities; every process computes its share, the main one writes.

    Args:
        cache: cache of the reference's log-probabilities.
        rows: rows whose log-probabilities are needed.
        others: for each row another completion of its prompt that is needed too; it continues from the row's pass over
            the prompt.
        model: the reference, on any device; left in evaluation mode if it was run.
        accelerator: gives the device and this process's share.
        batch_tokens: tokens a forward pass.
        report: called with the stage `reference` (rows).

    Raises:
        TrainingError: if the reference gives a log-probability that is not finite.

    Returns:
        The numbers of log-probabilities `reused` and `computed`, one per distinct text.
    """
    sides = [rows] if others is None else [rows, others]
    cached = [cache.get(side) for side in sides]
    uncached: dict[bytes, tuple[Encoded, ...]] = {}
    for completions, logps in zip(zip(*sides, strict=True), zip(*cached, strict=True), strict=True):
        if None in logps:
            uncached[b"".join(text.key() for text in completions)] = completions
    texts = [text for side in sides for text in side]
    keys = list(zip((text.key() for text in texts), (logp for logps in cached for logp in logps), strict=True))
    missing = {key for key, logp in keys if logp is None}
    used = {"reused": len({key for key, _ in keys}) - len(missing), "computed": len(missing)}
    accelerator.wait_for_everyone()  # all processes read before one writes, so that all see the same rows missing
    if not uncached:
        return used
    reference = GroupLogps(model.to(accelerator.device).eval())
    partners = {completions[0]: completions for completions in uncached.values()}
    batches = token_batches(list(partners), tokens=batch_tokens)
    completed = 0
    for start in range(0, len(batches), CHUNK_BATCHES):
        chunk = [
            list(zip(*(partners[row] for row in batch), strict=True))
            for batch in batches[start : start + CHUNK_BATCHES]
        ]
        own_batches: list[tuple[int, list[float]]] = []
        for place in range(accelerator.process_index, len(chunk), accelerator.num_processes):
            own_batches.append((place, _logps(reference, chunk[place], accelerator)))
            report("reference", completed + sum(len(batch[0]) for batch in chunk[: place + 1]), len(partners), "rows")
        values = dict(gather_object(own_batches))
        _require_finite(
            [logp for logps in values.values() for logp in logps]
        )  # in every process, so that none waits for ever
        completed += sum(len(batch[0]) for batch in chunk)
        if accelerator.is_main_process:
            for place, batch in enumerate(chunk):
                text_logps = zip((text for side in batch for text in side), values[place], strict=True)
                # Cached values stay: another packing would round them differently.
                cache.put(*zip(*((text, logp) for text, logp in text_logps if text.key() in missing), strict=True))
        accelerator.wait_for_everyone()
    return used


def known_logps(cache: LogpCache, rows: Sequence[Encoded]) -> list[float]:
    """Return the log-probability of each row; the cache must have all of them.

    Raises:
        TrainingError: if one is missing or not finite.
    """
    logps = [math.nan if logp is None else logp for logp in cache.get(rows)]
    _require_finite(logps)
    return logps


def _require_finite(logps: Sequence[float]) -> None:
    if not all(map(math.isfinite, logps)):
        raise TrainingError(
            "the reference gives a log-probability that is not finite; its weights are damaged, or its "
            "precision too small"
        )


def _logps(reference: GroupLogps, sides: Sequence[Sequence[Encoded]], accelerator: Accelerator) -> list[float]:
    """Compute the log-probabilities of one batch, those of the first side first."""
    with accelerator.autocast():
        if len(sides) == 1:
            logps: torch.Tensor = reference(Batch.collate(sides[0]).to(accelerator.device))
            return logps.tolist()
        logps, other_logps = reference(GroupBatch.collate(*sides).to(accelerator.device))
        return [*logps.tolist(), *other_logps.tolist()]
