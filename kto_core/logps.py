"""Summed log-probabilities of completions, with the head on completion positions only and every prompt computed once.

Every row is laid out so that the columns where completions start line up:

    [ shared ] [ padding | prefix (rest of the prompt) ] [ tail (completion) | padding ]

What all rows of a batch begin with (a system prompt, as a rule) is computed once for the batch, and the rows continue
from its keys and values, through which their gradients flow back into it. The model's own `logits_to_keep` cuts the
head to the tail's columns for all rows at once, whatever the head is (tied, scaled, soft-capped, wrapped by peft), and
a second completion of the same prompts continues from the first pass's keys and values, cropped at the last prefix
token. Padding is masked by position: its id may be any.

Log-probabilities are summed in float32, or in float64 if the model computes in it.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from kto_core.tokenization import Encoded

LEAST_SHARED: Final = 16  # tokens; a pass of its own over fewer costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows in the layout above; S shared columns, B rows, P prefix columns, C tail columns.

    Attributes:
        shared: int64 [S], what every row begins with; S may be 0.
        prefix: int64 [B, P], padded on the left; column P - 1 is real in every row.
        prefix_mask: int64 [B, P], 1 where a token is real.
        tail: int64 [B, C], padded on the right.
        taught: bool [B, C], true at completion tokens.

    """

    shared: Tensor
    prefix: Tensor
    prefix_mask: Tensor
    tail: Tensor
    taught: Tensor

    @classmethod
    def collate(cls, rows: Sequence[Encoded], *, pad_id: int, cuts: Sequence[int] | None = None) -> Self:
        """Lay rows out; the tail of row i starts after its first `cuts[i]` tokens, at most `start` (the default)."""
        starts = [row.start for row in rows] if cuts is None else cuts
        shared = _common_start(rows, starts)
        cuts = [start - shared for start in starts]
        ids = [row.ids[shared:] for row in rows]
        prefix_columns = max(cuts)
        tail_columns = max(len(own) - cut for own, cut in zip(ids, cuts, strict=True))
        prefix = np.full((len(rows), prefix_columns), pad_id, dtype=np.int64)
        prefix_mask = np.zeros((len(rows), prefix_columns), dtype=np.int64)
        tail = np.full((len(rows), tail_columns), pad_id, dtype=np.int64)
        taught = np.zeros((len(rows), tail_columns), dtype=bool)
        for i, (row, own, cut) in enumerate(zip(rows, ids, cuts, strict=True)):
            prefix[i, prefix_columns - cut :] = own[:cut]
            prefix_mask[i, prefix_columns - cut :] = 1
            tail[i, : len(own) - cut] = own[cut:]
            taught[i, row.start - starts[i] : len(own) - cut] = True
        return cls(
            shared=torch.from_numpy(rows[0].ids[:shared].astype(np.int64)),
            prefix=torch.from_numpy(prefix),
            prefix_mask=torch.from_numpy(prefix_mask),
            tail=torch.from_numpy(tail),
            taught=torch.from_numpy(taught),
        )

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})

    def apart(self) -> "Batch":
        """The same rows with nothing shared: for a model that cannot continue from keys and values."""
        ids = torch.cat([self.shared.expand(len(self.prefix), -1), self.prefix], dim=1)
        mask = torch.cat([torch.ones_like(ids[:, : len(self.shared)]), self.prefix_mask], dim=1)
        # The padding goes to the front, and all else keeps its order.
        order = mask.sort(dim=1, stable=True).indices
        return replace(self, shared=self.shared[:0], prefix=ids.gather(1, order), prefix_mask=mask.gather(1, order))

    @property
    def padded_tokens(self) -> int:
        """Tokens of a forward pass over the whole batch, padding included and what is shared once."""
        return len(self.shared) + self.tail.shape[0] * (self.prefix.shape[1] + self.tail.shape[1] - 1)


def _common_start(rows: Sequence[Encoded], starts: Sequence[int]) -> int:
    """How many tokens all rows begin with, so that at least one of each prompt is left; 0 where it does not pay."""
    most = min(starts) - 1
    if len(rows) < 2 or most < LEAST_SHARED:
        return 0
    for row in rows[1:]:
        differs = np.flatnonzero(row.ids[:most] != rows[0].ids[:most])
        most = int(differs[0]) if len(differs) else most
    return most if most >= LEAST_SHARED else 0


def length_batches(rows: Sequence[Encoded], *, tokens: int) -> list[list[Encoded]]:
    """Rows of similar length together, at most `tokens` tokens a batch with padding (or one row)."""
    batches: list[list[Encoded]] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if not batches or (len(batches[-1]) + 1) * len(row.ids) > tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


@dataclass(frozen=True, kw_only=True)
class GroupBatch:
    """A group's rows (x, y) and their mismatched pairs (x, y').

    `shares_prefix`: both batches have the same shared and prefix columns, so that the second can continue from the
    first's keys and values.
    """

    rows: Batch
    mismatched: Batch
    shares_prefix: bool

    @classmethod
    def collate(cls, rows: Sequence[Encoded], mismatched: Sequence[Encoded], *, pad_id: int) -> Self:
        """Lay out `rows` and, for the same prompts in the same order, `mismatched`.

        Where a tokenizer merged across the border differently for y and y', the prefix ends at the last token both
        share.
        """
        cuts = [_shared(row, other) for row, other in zip(rows, mismatched, strict=True)]
        if min(cuts) < 1 or max(cuts) < 2:
            return cls(
                rows=Batch.collate(rows, pad_id=pad_id),
                mismatched=Batch.collate(mismatched, pad_id=pad_id),
                shares_prefix=False,
            )
        return cls(
            rows=Batch.collate(rows, pad_id=pad_id, cuts=cuts),
            mismatched=Batch.collate(mismatched, pad_id=pad_id, cuts=cuts),
            shares_prefix=True,
        )

    @property
    def padded_tokens(self) -> int:
        """Tokens that both passes compute, padding included, when the prefix is computed once where it can be."""
        rows, tail = self.mismatched.tail.shape
        return self.rows.padded_tokens + (rows * tail if self.shares_prefix else self.mismatched.padded_tokens)

    def to(self, device: torch.device) -> "GroupBatch":
        """The same batch on `device`."""
        return GroupBatch(
            rows=self.rows.to(device), mismatched=self.mismatched.to(device), shares_prefix=self.shares_prefix
        )


def _shared(row: Encoded, other: Encoded) -> int:
    most = min(row.start, other.start)
    differs = np.flatnonzero(row.ids[:most] != other.ids[:most])
    return int(differs[0]) if len(differs) else most


def completion_logps(model: nn.Module, batch: Batch) -> Tensor:
    """Log π(y|x) summed over completion tokens, [B], with gradient."""
    logps, _ = _forward(model, batch, keep_cache=False)
    return logps


class CompletionLogps(nn.Module):
    """A causal model seen as a function from a batch to log π(y|x); what accelerate wraps for SFT.

    Args:
        model: a transformers causal model, bare or wrapped by peft.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities of rows, [B]."""
        return completion_logps(self.model, batch)


class GroupLogps(nn.Module):
    """A causal model seen as a function from a group to log π(y|x) and log π(y'|x); what accelerate wraps for KTO.

    Args:
        model: a transformers causal model, bare or wrapped by peft.

    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: GroupBatch) -> tuple[Tensor, Tensor]:
        """Log-probabilities of rows ([B], with gradient) and of mismatched pairs ([B], without)."""
        reuse = batch.shares_prefix and caches_every_position(self.model)
        logps, cache = _forward(self.model, batch.rows, keep_cache=reuse)
        with torch.no_grad():
            if cache is not None:
                return logps, _continue(self.model, batch.mismatched, cache)
            return logps, completion_logps(self.model, batch.mismatched)


def _forward(model: nn.Module, batch: Batch, *, keep_cache: bool) -> tuple[Tensor, DynamicCache | None]:
    if len(batch.shared) and not caches_every_position(model):
        batch = batch.apart()
    shared = len(batch.shared)
    ids = torch.cat([batch.prefix, batch.tail[:, :-1]], dim=1)
    mask = _mask(batch)
    past = _shared_cache(model, batch) if shared else DynamicCache()
    options = {"use_cache": True, "past_key_values": past} if keep_cache or shared else {"use_cache": False}
    output = model(
        input_ids=ids,
        attention_mask=mask,
        **_accepted(model, position_ids=_positions(mask)[:, shared:], logits_to_keep=batch.tail.shape[1]),
        **options,
    )
    cache = output.past_key_values if keep_cache else None
    return _summed(output.logits, batch), cache if isinstance(cache, DynamicCache) else None


def _shared_cache(model: nn.Module, batch: Batch) -> DynamicCache:
    """Keys and values of what the rows share, computed once and seen by every row, with gradient."""
    output = model(
        input_ids=batch.shared[None],
        past_key_values=DynamicCache(),
        use_cache=True,
        **_accepted(model, logits_to_keep=1),
    )
    rows = len(batch.tail)
    layers: Any = output.past_key_values.layers
    return DynamicCache(
        [(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)) for layer in layers]
    )


def _continue(model: nn.Module, batch: Batch, cache: DynamicCache) -> Tensor:
    """Log-probabilities of `batch` from the keys and values of its prefix, all but the last column, in `cache`."""
    kept = len(batch.shared) + batch.prefix.shape[1] - 1
    layers: Any = cache.layers
    past = DynamicCache([(layer.keys[:, :, :kept].detach(), layer.values[:, :, :kept].detach()) for layer in layers])
    ids = torch.cat([batch.prefix[:, -1:], batch.tail[:, :-1]], dim=1)
    mask = _mask(batch)
    output = model(
        input_ids=ids,
        attention_mask=mask,
        past_key_values=past,
        use_cache=True,
        **_accepted(model, position_ids=_positions(mask)[:, kept:], logits_to_keep=batch.tail.shape[1]),
    )
    return _summed(output.logits, batch)


def _summed(logits: Tensor, batch: Batch) -> Tensor:
    logits = logits[:, -batch.tail.shape[1] :]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen = logits.gather(-1, batch.tail.unsqueeze(-1)).squeeze(-1)
    token_logps = chosen - logits.logsumexp(-1)
    return torch.where(batch.taught, token_logps, 0.0).sum(-1)


def _mask(batch: Batch) -> Tensor:
    """Which of the columns are real, but for the padding behind a tail, which nothing real looks back to."""
    shared = batch.prefix_mask.new_ones(len(batch.tail), len(batch.shared))
    return torch.cat([shared, batch.prefix_mask, torch.ones_like(batch.tail[:, :-1])], dim=1)


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _causal(model: nn.Module) -> Any:  # noqa: ANN401 - what a transformers model offers is not in nn.Module
    """The transformers model inside a peft wrapper, or the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def _accepted(model: nn.Module, **options: object) -> dict[str, object]:
    """Those options that the model's forward knows: ALiBi models take no positions, a few no `logits_to_keep`."""
    known = inspect.signature(_causal(model).forward).parameters
    return {name: value for name, value in options.items() if name in known}


def caches_every_position(model: nn.Module) -> bool:
    """Whether cropping the cache gives back the prompt: not with sliding windows, recurrent states, recomputation."""
    inner = _causal(model)
    config = inner.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    recomputed = getattr(inner, "is_activation_checkpointing", False) and inner.training
    knows_positions = "position_ids" in inspect.signature(inner.forward).parameters
    return (
        kinds == {"full_attention"}
        and getattr(config, "sliding_window", None) is None
        and not getattr(inner, "_is_stateful", False)
        and knows_positions
        and not recomputed
    )
