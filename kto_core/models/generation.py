"""Generate answers to many prompts: length-sorted batches, cached keys and values, finished rows dropped early.

Sampling takes each row's random numbers from the seed and the row's place in `prompts`, so an answer does not depend on
its batch.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import Paced, Report, silent
from kto_core.data.datasets import Message
from kto_core.data.tokenization import Encoder
from kto_core.models.model_folders import load

ROOM = 32  # columns allocated ahead


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of full attention in buffers with spare room: one copy in `ROOM` tokens, not one per token."""

    buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append columns, [rows, heads, columns, width] each, and return all columns so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used, added = self.get_seq_length(), key_states.shape[-2]
        if self.buffers is None or self.buffers[0].shape[-2] < used + added:
            old, self.buffers = self.buffers, (_room(key_states, used), _room(value_states, used))
            for buffer, before in zip(self.buffers, old or (), strict=False):
                buffer[:, :, :used] = before[:, :, :used]
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, used : used + added] = new
        return self._show(self.buffers, used + added)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows at `indices`."""
        if self.buffers is not None:
            used = self.get_seq_length()
            self.buffers = (self.buffers[0][indices], self.buffers[1][indices])
            self._show(self.buffers, used)

    def _show(self, buffers: tuple[Tensor, Tensor], columns: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = keys, values = buffers[0][:, :, :columns], buffers[1][:, :, :columns]
        return keys, values


def _room(states: Tensor, used: int) -> Tensor:
    rows, heads, added, width = states.shape
    return states.new_empty(rows, heads, used + added + ROOM, width)


@torch.inference_mode()
def generate(
    model_dir: Path,
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 128,
    max_prompt_tokens: int = 512,
    report: Report = silent,
) -> list[str]:
    """Answer each prompt, in the order given.

    Args:
        model_dir: a model folder.
        prompts: lists of {role, content}.
        max_new_tokens: maximum tokens of an answer.
        temperature: 0 takes the likeliest token; above, tokens are drawn from the tempered distribution.
        seed: seed of the draws; the same seed, prompts and machine give the same answers.
        batch_size: rows decoded together.
        max_prompt_tokens: a longer prompt loses its beginning.
        report: called with the stage `generate` (prompts).

    Raises:
        TrainingError: if the model cannot be loaded, a prompt is empty, or a number is out of bounds.

    """
    if temperature < 0 or max_new_tokens < 1 or batch_size < 1:
        raise TrainingError("generate needs temperature of 0 or more, and max_new_tokens and batch_size of 1 or more")
    if empty := [i for i, prompt in enumerate(prompts) if not prompt]:
        raise TrainingError(f"prompt {empty[0]} of {len(prompts)} has no messages; leave it out")
    report = Paced(report)
    model, tokenizer = load(Path(model_dir))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.train(False).to(device=device)
    encoder = Encoder(tokenizer, max_prompt_tokens=max_prompt_tokens, max_completion_tokens=max_new_tokens)
    encoded = encoder.encode_prompts(prompts)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    ends = torch.tensor(_end_ids(model, int(tokenizer.eos_token_id)), device=device)
    answers: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        draws = _draws(places, max_new_tokens, seed).to(device) if temperature > 0 else None
        tokens = _decode(model, [encoded[i] for i in places], max_new_tokens, temperature, draws, ends, encoder.pad_id)
        answers.update(zip(places, tokens, strict=True))
        report("generate", len(answers), len(order), "prompts")
    return [str(tokenizer.decode(answers[i], skip_special_tokens=True)) for i in range(len(encoded))]


@torch.no_grad()
def draw(
    model: PreTrainedModel,
    prompts: Sequence[np.ndarray],
    *,
    most: int,
    end: int,
    batch_size: int = 64,
    report: Report = silent,
) -> list[list[int]]:
    """Draw a reply of `model` to each prompt from its distribution: token ids, `end` included unless cut off.

    Args:
        model: on its device, in evaluation mode.
        prompts: token ids.
        most: maximum tokens of a reply.
        end: the token that ends a reply.
        batch_size: rows decoded together.
        report: called with the stage `held-out replies` (prompts).
    """
    replies: list[list[int]] = []
    for start in range(0, len(prompts), batch_size):
        batch = list(prompts[start : start + batch_size])
        draws = _draws(list(range(start, start + len(batch))), most, seed=0).to(model.device)
        drawn = _decode(model, batch, most, 1.0, draws, torch.tensor([end], device=model.device), end)
        replies.extend([*reply, end] if len(reply) < most else reply for reply in drawn)
        report("held-out replies", len(replies), len(prompts), "prompts")
    return replies


def _decode(
    model: PreTrainedModel,
    prompts: list[np.ndarray],
    max_new_tokens: int,
    temperature: float,
    draws: Tensor | None,
    ends: Tensor,
    pad_id: int,
) -> list[list[int]]:
    """Return token ids of each answer, without the end-of-turn token."""
    columns = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), columns), pad_id)
    mask = torch.zeros((len(prompts), columns), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, columns - len(prompt) :] = torch.from_numpy(prompt)
        mask[i, columns - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    rows = torch.arange(len(prompts), device=model.device)
    answers: list[list[int]] = [[] for _ in prompts]
    cache = Cache(layer_class_to_replicate=RoomyLayer) if _attends_to_all(model) else DynamicCache()
    for step in range(max_new_tokens):
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen = _choose(output.logits[:, -1], temperature, draws[rows, step] if draws is not None else None)
        going = ~torch.isin(chosen, ends)
        for row, token, goes in zip(rows.tolist(), chosen.tolist(), going.tolist(), strict=True):
            if goes:
                answers[row].append(token)
        if not going.any():
            break
        if not going.all():
            kept = going.nonzero().squeeze(-1)
            rows, chosen, mask, positions = rows[kept], chosen[kept], mask[kept], positions[kept]
            cache.batch_select_indices(kept)
        ids = chosen.unsqueeze(-1)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
    return answers


def _choose(logits: Tensor, temperature: float, draws: Tensor | None) -> Tensor:
    """Return each row's likeliest token, or the one where the cumulated probability passes its uniform draw."""
    if draws is None:
        return logits.argmax(-1)
    cumulated = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (
        torch.searchsorted(cumulated, draws.unsqueeze(-1) * cumulated[:, -1:])
        .squeeze(-1)
        .clamp(max=logits.shape[-1] - 1)
    )


def _draws(places: list[int], count: int, seed: int) -> Tensor:
    """Draw uniform numbers in [0, 1), [rows, count], from the seed and each row's place."""
    return torch.from_numpy(np.stack([np.random.default_rng([seed, place]).random(count) for place in places]))


def _end_ids(model: PreTrainedModel, eos: int) -> list[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured] if configured is not None else []
    return sorted({eos, *ids})


def _attends_to_all(model: PreTrainedModel) -> bool:
    """Return whether every layer attends to all earlier tokens, so that its cache is their keys and values only."""
    config = model.config.get_text_config()
    return (
        set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and not getattr(model, "_is_stateful", False)
    )
