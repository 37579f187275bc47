"""Make planned rows ready to be learned: their tokens, their y's, and log π_ref of both."""

from collections.abc import Mapping
from dataclasses import dataclass

from accelerate import Accelerator
from transformers import PreTrainedModel

from kto_core.data import Rows
from kto_core.progress import Report
from kto_core.reference import LogpCache
from kto_core.reference_logps import fill, known_logps
from kto_core.tokenization import Encoded, Encoder

CHUNK_ROWS = 2000  # rows tokenized at a time


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
    sides = [[pair[side] for pair in pairs.values()] for side in (0, 1)]
    used = fill(cache, *sides, model=model, accelerator=accelerator, batch_tokens=batch_tokens, report=report)
    desirable, weights = rows.desirable(), rows.weights()
    known = [known_logps(cache, side) for side in sides]
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
