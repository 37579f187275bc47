"""Measure how far a policy has moved from the reference on held-out prompts.

Replies are drawn from the reference once, stored beside the cache with their log-probabilities, and scored by the
policy for each measurement. The mean of log π_ref(y|x) − log π(y|x) over y ~ π_ref estimates D(π_ref ‖ π) without bias,
in nats a reply. It needs no new draws and no second run of the reference.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from kto_core.base.progress import Report
from kto_core.base.store import digest, read_json, write_json
from kto_core.data.datasets import Rows
from kto_core.data.tokenization import Encoded, Encoder
from kto_core.models.generation import draw
from kto_core.models.logps import Batch, CompletionLogps, token_batches
from kto_core.reference.logp_cache import LogpCache
from kto_core.reference.reference_logps import fill, known_logps


@dataclass(frozen=True, kw_only=True)
class HeldOutReplies:
    """Replies of the reference to held-out prompts.

    Attributes:
        rows: prompt and drawn reply of each.
        logps: log π_ref of each reply.
        batch_tokens: tokens a forward pass.
    """

    rows: list[Encoded]
    logps: list[float]
    batch_tokens: int

    @torch.no_grad()
    def kl(self, network: CompletionLogps, accelerator: Accelerator) -> float:
        """Estimate D(π_ref ‖ π) in nats a reply; every process computes all of it, as FSDP needs."""
        network.train(False)
        reference_logps = dict(zip(self.rows, self.logps, strict=True))
        total = 0.0
        for part in token_batches(self.rows, tokens=self.batch_tokens):
            logps = network(Batch.collate(part).to(accelerator.device)).double().tolist()
            total += sum(reference_logps[row] - logp for row, logp in zip(part, logps, strict=True))
        network.train()
        return total / len(self.rows)


def draw_replies(
    held: Rows,
    *,
    count: int,
    encoder: Encoder,
    model: PreTrainedModel,
    weights: str,
    cache: LogpCache,
    folder: Path,
    accelerator: Accelerator,
    batch_tokens: int,
    report: Report,
) -> HeldOutReplies:
    """Draw a reply of the reference to each of `count` held-out prompts, or read earlier draws.

    Args:
        held: held-out rows; prompts are taken in the order of their keys, so most stay when rows are added.
        count: maximum number of distinct prompts.
        encoder: tokenizer, with the maximum length of a reply.
        model: the reference; left in evaluation mode if it was run.
        weights: hash of its weights.
        cache: cache of its log-probabilities.
        folder: folder of stored replies.
        accelerator: accelerator of the run; the main process draws.
        batch_tokens: tokens a forward pass.
        report: called with the stages `held-out replies` and `reference` (rows).
    """
    first = {key: index for index, key in reversed(list(enumerate(held.prompt_keys())))}
    chosen = [index for _, index in sorted(first.items())[:count]]
    prompts = encoder.encode_prompts([prompt for prompt, _ in held.pairs(chosen)])
    key = digest({"weights": weights, "prompts": [p.tolist() for p in prompts], "most": encoder.max_completion_tokens})
    file = folder / f"replies-{key[:16]}.json"
    if accelerator.is_main_process and not file.is_file():
        model.to(accelerator.device).eval()
        drawn = draw(model, prompts, most=encoder.max_completion_tokens, end=encoder.end_id, report=report)
        write_json(file, {"replies": drawn})
    accelerator.wait_for_everyone()
    replies: Any = read_json(file)["replies"]
    rows = [
        Encoded(ids=np.concatenate([prompt, np.array(reply, dtype=np.int32)]), start=len(prompt))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    fill(cache, rows, model=model, accelerator=accelerator, batch_tokens=batch_tokens, report=report)
    return HeldOutReplies(rows=rows, logps=known_logps(cache, rows), batch_tokens=batch_tokens)
