"""Make planned rows ready to be learned: their tokens, their y's, and log π_ref of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelerate import Accelerator
from transformers import PreTrainedModel

from kto_core.base.progress import Report
from kto_core.data.datasets import Message, Rows
from kto_core.data.tokenization import Encoded, Encoder, encode_sides
from kto_core.reference.logp_cache import LogpCache
from kto_core.reference.reference_logps import fill, known_logps


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
    met = sorted(lenders)

    def mismatched(chunk: Sequence[int]) -> list[tuple[list[Message], str]]:
        borrowed = rows.pairs([lenders[row] for row in chunk])
        return [(prompt, completion) for (prompt, _), (_, completion) in zip(rows.pairs(chunk), borrowed, strict=True)]

    sides = encode_sides(encoder, met, rows.pairs, mismatched, unit="rows", report=report)
    used = fill(cache, *sides, model=model, accelerator=accelerator, batch_tokens=batch_tokens, report=report)
    desirable, weights = rows.desirable(), rows.weights()
    known = [known_logps(cache, side) for side in sides]
    ready = {
        row: ReadyRow(
            own=own,
            mismatched=other,
            desirable=bool(desirable[row]),
            weight=float(weights[row]),
            reference_logp=logp,
            reference_kl_logp=kl_logp,
        )
        for row, own, other, logp, kl_logp in zip(met, *sides, *known, strict=True)
    }
    return ready, used
