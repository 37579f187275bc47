"""Compute the log π_ref that the cache lacks, with the policy before its first step: it still is the reference then.

So no second model is ever in memory, and with a warm cache nothing is computed at all.
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
    """Compute and keep what the cache lacks; every process computes its share, the main one writes.

    Args:
        cache: of the reference's log-probabilities.
        rows: what must be known.
        others: for each row another completion of its prompt that must be known too, which goes on from the row's pass
            over the prompt.
        model: the reference, on any device; left in evaluation mode if it was run.
        accelerator: says on which device, and which share is this process's.
        batch_tokens: tokens a forward pass.
        report: called with the stage `reference` (rows).

    Raises:
        TrainingError: if the reference gives one that is not finite.

    Returns:
        How many log-probabilities were `reused` and `computed`, those of one text once.
    """
    sides = [rows] if others is None else [rows, others]
    known = [cache.get(side) for side in sides]
    lacking: dict[bytes, tuple[Encoded, ...]] = {}
    for together, logps in zip(zip(*sides, strict=True), zip(*known, strict=True), strict=True):
        if None in logps:
            lacking[b"".join(text.key() for text in together)] = together
    texts = [text for side in sides for text in side]
    keys = list(zip((text.key() for text in texts), (logp for logps in known for logp in logps), strict=True))
    missing = {key for key, logp in keys if logp is None}
    used = {"reused": len({key for key, _ in keys}) - len(missing), "computed": len(missing)}
    accelerator.wait_for_everyone()  # all have read before anyone writes, so that all see the same rows lacking
    if not lacking:
        return used
    reference = GroupLogps(model.to(accelerator.device).eval())
    partners = {together[0]: together for together in lacking.values()}
    batches = token_batches(list(partners), tokens=batch_tokens)
    done = 0
    for at in range(0, len(batches), CHUNK_BATCHES):
        chunk = [
            list(zip(*(partners[row] for row in batch), strict=True)) for batch in batches[at : at + CHUNK_BATCHES]
        ]
        mine: list[tuple[int, list[float]]] = []
        for place in range(accelerator.process_index, len(chunk), accelerator.num_processes):
            mine.append((place, _logps(reference, chunk[place], accelerator)))
            report("reference", done + sum(len(batch[0]) for batch in chunk[: place + 1]), len(partners), "rows")
        values = dict(gather_object(mine))
        _require_finite([logp for logps in values.values() for logp in logps])  # in every process: none waits for ever
        done += sum(len(batch[0]) for batch in chunk)
        if accelerator.is_main_process:
            for place, batch in enumerate(chunk):
                found = zip((text for side in batch for text in side), values[place], strict=True)
                # What is known stays as it is: another packing would round it otherwise.
                cache.put(*zip(*((text, logp) for text, logp in found if text.key() in missing), strict=True))
        accelerator.wait_for_everyone()
    return used


def known_logps(cache: LogpCache, rows: Sequence[Encoded]) -> list[float]:
    """The log-probability of each row, all of which the cache has.

    Raises:
        TrainingError: if one is not finite.
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
    """Log-probabilities of one batch, those of the first side first."""
    with accelerator.autocast():
        if len(sides) == 1:
            found: torch.Tensor = reference(Batch.collate(sides[0]).to(accelerator.device))
            return found.tolist()
        logps, other_logps = reference(GroupBatch.collate(*sides).to(accelerator.device))
        return [*logps.tolist(), *other_logps.tolist()]
