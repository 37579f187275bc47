"""KTO by hand: four padded forward passes a batch, with the model's whole head on every token."""

from __future__ import annotations

import copy
import json
import random
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.training.turns import Turns
from kto_core import estimate_z0, kto_loss

Row = tuple[list[int], list[int], bool]


def main() -> None:
    """Train by the settings in the first argument, one step a turn."""
    settings = json.loads(sys.argv[1])
    folder = Path(settings["folder"])
    turns = Turns()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "model").to(device)
    reference: Any = copy.deepcopy(model).eval().requires_grad_(False)
    if settings["lora_rank"]:
        from peft import LoraConfig, get_peft_model

        adapters = LoraConfig(
            r=settings["lora_rank"], lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, adapters)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows: list[Row] = [
        (tokenizer.encode(row["prompt"]), [*tokenizer.encode(row["completion"]), 1], row["label"])
        for row in pq.read_table(folder / "set" / "rows.parquet").to_pylist()
    ]
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=settings["learning_rate"],
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    computing: AbstractContextManager[Any] = (
        torch.autocast(device.type, torch.bfloat16) if settings["precision"] == "bfloat16" else nullcontext()
    )
    order = [i for epoch in range(settings["epochs"]) for i in random.Random(epoch).sample(range(len(rows)), len(rows))]
    model.train()
    turns.setup_done()
    total = settings["batch"] * settings["accumulate"]
    for step in range(settings["steps"]):
        for part in range(settings["accumulate"]):
            at = step * total + part * settings["batch"]
            batch = [rows[i] for i in order[at : at + settings["batch"]]]
            other = [(x, batch[i - 1][1], good) for i, (x, _, good) in enumerate(batch)]
            desirable = torch.tensor([good for *_, good in batch], device=device)
            with computing:
                logps = _logps(model, batch, device)
                with torch.no_grad():
                    kl_logps = _logps(model, other, device)
                    reference_logps = _logps(reference, batch, device)
                    reference_kl_logps = _logps(reference, other, device)
            z0 = estimate_z0(kl_logps, reference_kl_logps)
            losses, _ = kto_loss(
                logps,
                reference_logps,
                desirable,
                z0=z0,
                beta=0.1,
                desirable_weight=1.0,
                undesirable_weight=1.0,
            )
            (losses.mean() / settings["accumulate"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        turns.step_done(last=step + 1 == settings["steps"])
    turns.finish()


def _logps(model: Any, rows: list[Row], device: torch.device) -> Tensor:  # noqa: ANN401
    longest = max(len(x) + len(y) for x, y, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask, taught = torch.zeros_like(ids), torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, (x, y, _) in enumerate(rows):
        ids[i, : len(x) + len(y)] = torch.tensor(x + y)
        mask[i, : len(x) + len(y)] = 1
        taught[i, len(x) : len(x) + len(y)] = True
    ids, mask, taught = ids.to(device), mask.to(device), taught.to(device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    token_logps = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return torch.where(taught[:, 1:], token_logps, 0.0).sum(-1)


if __name__ == "__main__":
    main()
