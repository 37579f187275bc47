"""The copilot: a small language model, trained on the past transcripts, that drafts replies.

Only this module of the desk needs torch, and imports it inside functions only.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harbor.tickets import Ticket
from kto_core.base.progress import Report, silent

# The longest reply of the book has about 30 tokens; a longer draft is a bad one.
_MAX_NEW_TOKENS = 40
_BATCH_SIZE = 128


def train_copilot(transcripts: Path, *, config: Mapping[str, Any], models: Path, report: Report = silent) -> Path:
    """Train a `tiny` model on the transcripts and return its folder; the store has it if that was done before."""
    from kto_core import SFTConfig, train_sft

    return train_sft(
        model="tiny", rows=transcripts, config=SFTConfig.from_dict(dict(config)), store=models, report=report
    )


def draft_replies(
    model: Path, tickets: Sequence[Ticket], *, temperature: float, seed: int, report: Report = silent
) -> list[str]:
    """Draft a reply to every ticket: sampled at `temperature`, or greedy at 0."""
    from kto_core import generate

    return generate(
        model,
        [ticket.prompt for ticket in tickets],
        max_new_tokens=_MAX_NEW_TOKENS,
        temperature=temperature,
        seed=seed,
        batch_size=_BATCH_SIZE,
        report=report,
    )
