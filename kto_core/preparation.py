"""Make planned rows ready to be learned: their tokens, their y's, and log π_ref of both.

What the cache lacks is computed by the policy before its first step: it still is the reference then, so that no second
model is ever in memory, and with a warm cache nothing is computed at all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from kto_core.data import Rows
from kto_core.exceptions import TrainingError
from kto_core.logps import GroupBatch, GroupLogps, token_batches
from kto_core.progress import Report
from kto_core.reference import LogpCache
from kto_core.tokenization import Encoded, Encoder

CHUNK_ROWS = 2000  # rows tokenized at a time
CHUNK_BATCHES = 50  # batches whose log-probabilities are written to the cache at a time


@dataclass(frozen=True, kw_only=True)
class ReadyRow:
    """All that a row's loss needs besides the policy.

    Attributes:
        own: tokens of (x, y).
        mismatched: tokens of (x, y').
        desirable: its class.
        weight: its weight in the loss.
        reference_logp: log π_ref(y|x).
        reference_kl_logp: log π_ref(y'|x).
    """

    own: Encoded
    mismatched: Encoded
    desirable: bool
    weight: float
    reference_logp: float
    reference_kl_logp: float


def prepare_rows(
    lenders: Mapping[int, int],
    *,
    rows: Rows,
    encoder: Encoder,
    model: PreTrainedModel,
    cache: LogpCache,
    accelerator: Accelerator,
    batch_tokens: int,
    report: Report,
) -> tuple[dict[int, ReadyRow], dict[str, int]]:
    """Tokenize rows and look up or compute their reference log-probabilities.

    Args:
        lenders: for each row that training will meet, the row whose completion is its y'.
        rows: the training rows.
        encoder: tokenizes.
        model: the reference, on any device; left in evaluation mode if it was run.
        cache: of the reference's log-probabilities.
        accelerator: says on which device, and which share of the rows is this process's to compute.
        batch_tokens: tokens a forward pass.
        report: called with the stages `tokenize` and `reference` (rows).

    Returns:
        The ready rows by index, and how many log-probabilities were `reused` and `computed`, those of one text once.
    """
    pairs = _encode(lenders, rows, encoder, report)
    used = _fill(cache, list(pairs.values()), model, accelerator, batch_tokens, report)
    desirable, weights = rows.desirable(), rows.weights()
    known = [_known(cache, [pair[side] for pair in pairs.values()]) for side in (0, 1)]
    ready = {
        row: ReadyRow(
            own=own,
            mismatched=mismatched,
            desirable=bool(desirable[row]),
            weight=float(weights[row]),
            reference_logp=logp,
            reference_kl_logp=kl_logp,
        )
        for (row, (own, mismatched)), logp, kl_logp in zip(pairs.items(), *known, strict=True)
    }
    return ready, used


def _encode(
    lenders: Mapping[int, int], rows: Rows, encoder: Encoder, report: Report
) -> dict[int, tuple[Encoded, Encoded]]:
    encoded: dict[int, tuple[Encoded, Encoded]] = {}
    wanted = sorted(lenders)
    for at in range(0, len(wanted), CHUNK_ROWS):
        chunk = wanted[at : at + CHUNK_ROWS]
        own = list(rows.pairs(chunk))
        borrowed = rows.pairs([lenders[row] for row in chunk])
        mismatched = [(prompt, completion) for (prompt, _), (_, completion) in zip(own, borrowed, strict=True)]
        found = encoder.encode([*own, *mismatched])
        encoded.update(zip(chunk, zip(found[: len(chunk)], found[len(chunk) :], strict=True), strict=True))
        report("tokenize", len(encoded), len(wanted), "rows")
    return encoded


@torch.no_grad()
def _fill(
    cache: LogpCache,
    pairs: Sequence[tuple[Encoded, Encoded]],
    model: PreTrainedModel,
    accelerator: Accelerator,
    batch_tokens: int,
    report: Report,
) -> dict[str, int]:
    """Compute and keep what the cache lacks; every process computes its share, the main one writes."""
    known = [cache.get([pair[side] for pair in pairs]) for side in (0, 1)]
    lacking = {own: other for (own, other), *logps in zip(pairs, *known, strict=True) if None in logps}
    texts = [(pair[side], logp) for side in (0, 1) for pair, logp in zip(pairs, known[side], strict=True)]
    missing = {text.key() for text, logp in texts if logp is None}
    used = {"reused": len({text.key() for text, _ in texts}) - len(missing), "computed": len(missing)}
    accelerator.wait_for_everyone()  # all have read before anyone writes, so that all see the same rows lacking
    if not lacking:
        return used
    reference = GroupLogps(model.to(accelerator.device).eval())
    batches = token_batches(list(lacking), tokens=batch_tokens)
    done = 0
    for at in range(0, len(batches), CHUNK_BATCHES):
        chunk = batches[at : at + CHUNK_BATCHES]
        mine: list[tuple[int, list[float]]] = []
        for place in range(accelerator.process_index, len(chunk), accelerator.num_processes):
            batch = GroupBatch.collate(chunk[place], [lacking[own] for own in chunk[place]])
            with accelerator.autocast():
                logps, kl_logps = reference(batch.to(accelerator.device))
            mine.append((place, [*logps.tolist(), *kl_logps.tolist()]))
            report("reference", done + sum(map(len, chunk[: place + 1])), len(lacking), "rows")
        values = dict(gather_object(mine))
        done += sum(map(len, chunk))
        if accelerator.is_main_process:
            for place, owns in enumerate(chunk):
                found = zip([*owns, *(lacking[own] for own in owns)], values[place], strict=True)
                # What is known stays as it is: another packing would round it otherwise.
                cache.put(*zip(*((text, logp) for text, logp in found if text.key() in missing), strict=True))
        accelerator.wait_for_everyone()
    return used


def _known(cache: LogpCache, rows: list[Encoded]) -> list[float]:
    logps = cache.get(rows)
    if not all(logp is not None and math.isfinite(logp) for logp in logps):
        raise TrainingError(
            "the reference gives a log-probability that is not finite; its weights are damaged, or its "
            "precision too small"
        )
    return [float(logp) for logp in logps if logp is not None]
