"""Prepare planned rows for training: their tokens, their y' if needed, and log π_ref of both."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from accelerate import Accelerator
from transformers import PreTrainedModel

from kto_core.base.progress import Report
from kto_core.data.datasets import Message, Rows
from kto_core.data.tokenization import Encoded, Encoder, encode_sides
from kto_core.reference.logp_cache import LogpCache
from kto_core.reference.reference_logps import fill, known_logps


@dataclass(frozen=True, kw_only=True)
class ReadyRow:
    """A row with everything its loss needs besides the policy.

    Attributes:
        own: tokens of (x, y).
        mismatched: tokens of (x, y'), or None where the objective reads no z0.
        desirable: its class.
        weight: its weight in the loss.
        reference_logp: log π_ref(y|x).
        reference_kl_logp: log π_ref(y'|x), or NaN where there is no y'.
    """

    own: Encoded
    mismatched: Encoded | None
    desirable: bool
    weight: float
    reference_logp: float
    reference_kl_logp: float


def prepare_rows(
    indices: Iterable[int],
    *,
    lenders: Sequence[int] | None,
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
        indices: the rows that training will use.
        lenders: for every row, the row whose completion is its y'; None if the objective needs no y'.
        rows: the training rows.
        encoder: the tokenizer.
        model: the reference, on any device; left in evaluation mode if it was run.
        cache: cache of the reference's log-probabilities.
        accelerator: gives the device, and this process's share of the rows.
        batch_tokens: tokens a forward pass.
        report: called with the stages `tokenize` and `reference` (rows).

    Returns:
        The ready rows by index, and the numbers of log-probabilities `reused` and `computed`, one per distinct text.
    """
    indices = sorted(set(indices))
    readers: list[Callable[[Sequence[int]], list[tuple[list[Message], str]]]] = [rows.pairs]
    if lenders is not None:
        readers.append(lambda chunk: _mismatched(rows, chunk, lenders))
    sides = encode_sides(encoder, indices, *readers, unit="rows", report=report)
    used = fill(cache, *sides, model=model, accelerator=accelerator, batch_tokens=batch_tokens, report=report)
    desirable, weights = rows.desirable(), rows.weights()
    logps = [known_logps(cache, side) for side in sides]
    others = repeat((None, math.nan), len(indices)) if lenders is None else zip(sides[1], logps[1], strict=True)
    ready = {
        row: ReadyRow(
            own=own,
            mismatched=other,
            desirable=bool(desirable[row]),
            weight=float(weights[row]),
            reference_logp=logp,
            reference_kl_logp=kl_logp,
        )
        for row, own, logp, (other, kl_logp) in zip(indices, sides[0], logps[0], others, strict=True)
    }
    return ready, used


def _mismatched(rows: Rows, chunk: Sequence[int], lenders: Sequence[int]) -> list[tuple[list[Message], str]]:
    """Return (x, y') of the rows in `chunk`."""
    borrowed = rows.pairs([lenders[row] for row in chunk])
    return [(prompt, completion) for (prompt, _), (_, completion) in zip(rows.pairs(chunk), borrowed, strict=True)]
