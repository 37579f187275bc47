"""Attention over rows that lie one behind the other without padding, where what rows begin with lies there once.

A pass is a row of **segments**: what several rows begin with (a system prompt, a prompt asked twice), and what is left
of each row. A segment attends to the segments it continues, whole, and causally to itself, so that the result is what
each row alone would give. A later pass may continue the segments of an earlier one: other completions of the same
prompts see the keys and values that the first pass made.

It goes through transformers' registry of attention functions. A model that does not attend through it, or asks for
more than this function can do, is found out by `packs` and has its rows padded instead.
"""

import inspect
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME: Final = "packed_rows"
Pieces = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # keys and values, [1, heads, tokens, width] a segment
# What attention functions are told that changes nothing here.
_HARMLESS: Final = frozenset({"position_ids", "cache_position", "position_embeddings", "is_causal", "return_dict"})


@dataclass(kw_only=True)
class Layout:
    """Where the segments of one pass lie and what they continue.

    Attributes:
        sizes: tokens of each segment, in the order in which they lie.
        past: for each segment, the (segment, tokens) that it continues, from the first token of the row on.
        earlier: keys and values by layer of the pass whose segments `past` names; None if it is this pass.
        kept: where keys and values are put by layer, without gradient, for a later pass; None keeps none.

    """

    sizes: tuple[int, ...]
    past: tuple[tuple[tuple[int, int], ...], ...]
    earlier: dict[int, Pieces] | None = None
    kept: dict[int, Pieces] | None = None
    called: list[int | None] = field(
        default_factory=list
    )  # the window of each layer that attended, None if it has none
    _masks: dict[tuple[int | None, torch.dtype], Tensor] = field(default_factory=dict)

    def mask(self, own: int, past: int, *, window: int | None, query: Tensor) -> Tensor:
        """What is added to the scores of the last `own` of `past + own` positions, [own, past + own]."""
        most_own, most_past = max(self.sizes), max(sum(tokens for _, tokens in past) for past in self.past)
        if (window, query.dtype) not in self._masks:
            at = torch.arange(most_past, most_past + most_own, device=query.device)[:, None]
            seen = torch.arange(most_past + most_own, device=query.device)[None]
            hidden = seen > at if window is None else (seen > at) | (seen <= at - window)
            mask = torch.zeros(hidden.shape, device=query.device, dtype=query.dtype)
            self._masks[window, query.dtype] = mask.masked_fill_(hidden, float("-inf"))
        # Distances are all that counts, so that one mask serves segments of every size.
        return self._masks[window, query.dtype][:own, most_past - past : most_past + own]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    sliding_window: int | None = None,
    **others: Any,  # noqa: ANN401 - what a model tells its attention
) -> tuple[Tensor, None]:
    """Attention of one layer, [1, tokens, heads, width], by segments; without a layout transformers' own SDPA.

    Args:
        module: the attention layer.
        query: [1, heads, tokens, width].
        key: [1, heads of keys and values, tokens, width]; so is `value`.
        value: see `key`.
        attention_mask: read without a layout only.
        dropout: probability that a weight is dropped.
        scaling: of the scores; none means 1/√width.
        layout: where segments lie.
        sliding_window: how many positions a query sees, itself included.
        others: refused with a layout if they could change the result.

    Raises:
        ValueError: if the layer asks for something that is not done here.
    """
    if layout is None:
        options = others if sliding_window is None else others | {"sliding_window": sliding_window}
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    if asked := {n for n, v in others.items() if v is not None and v is not False} - _HARMLESS:
        raise ValueError(f"packed rows cannot be attended to with {', '.join(sorted(asked))}")
    layout.called.append(sliding_window)
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    queries, keys, values = (torch.split(part, list(layout.sizes), dim=2) for part in (query, key, value))
    if layout.kept is not None:
        layout.kept[_index(module)] = (
            tuple(piece.detach() for piece in keys),
            tuple(piece.detach() for piece in values),
        )
    past_keys, past_values = (keys, values) if layout.earlier is None else layout.earlier[_index(module)]
    attended = []
    for own, q, k, v, past in zip(layout.sizes, queries, keys, values, layout.past, strict=True):
        before = sum(tokens for _, tokens in past)
        if before:
            k = torch.cat([*(_first(past_keys[segment], tokens) for segment, tokens in past), k], dim=2)
            v = torch.cat([*(_first(past_values[segment], tokens) for segment, tokens in past), v], dim=2)
        plain = not before and (sliding_window is None or own <= sliding_window)
        mask = None if plain else layout.mask(own, before, window=sliding_window, query=q)
        attended.append(
            scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=plain, dropout_p=dropout, scale=scaling)
        )
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def _first(piece: Tensor, tokens: int) -> Tensor:
    """The whole piece as it is: a slice of all of it would fill as many zeros on the way back."""
    return piece if tokens == piece.shape[2] else piece[:, :, :tokens]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)  # without a layout, the masks that SDPA wants


def pack(model: nn.Module) -> bool:
    """Let `model` attend by `attend` from now on if it can; whether it does."""
    inner = causal(model)
    config = inner.config.get_text_config()
    if config._attn_implementation != NAME and not _packs(inner):
        return False
    for module in inner.modules():  # `without_dropout` gives parts of a model a config of their own
        if hasattr(module, "config"):
            module.config.get_text_config()._attn_implementation = NAME
    return True


def causal(model: nn.Module) -> Any:  # noqa: ANN401 - what a transformers model offers is not in nn.Module
    """The transformers model inside a peft wrapper, or the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def accepted(model: nn.Module, **options: object) -> dict[str, object]:
    """Those options that the model's forward knows: ALiBi models take no positions, a few no `logits_to_keep`."""
    known = inspect.signature(causal(model).forward).parameters
    return {name: value for name, value in options.items() if name in known}


def run(model: nn.Module, ids: Tensor, positions: Tensor, layout: Layout, keep: Tensor) -> Tensor:
    """Logits of one pass, [len(keep), vocabulary].

    Args:
        model: one that `pack` said yes to.
        ids: int64 [T].
        positions: int64 [T], of each token in its row.
        layout: of the T tokens.
        keep: int64 [C], which tokens' logits are wanted.
    """
    output = model(
        input_ids=ids[None],
        position_ids=positions[None],
        # A mask of four dimensions is taken for finished, so that none is built.
        attention_mask=torch.zeros(1, 1, 1, 1, device=ids.device),
        use_cache=False,
        layout=layout,
        **accepted(model, logits_to_keep=keep),
    )
    logits: Tensor = output.logits[0]
    return logits if len(logits) == len(keep) else logits[keep]


def _packs(inner: Any) -> bool:  # noqa: ANN401
    """Whether every layer attends through the registry, found by running the model's code without its weights."""
    config = inner.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["full_attention" if window is None else "sliding_attention"]
    if not set(kinds) <= {"full_attention", "sliding_attention"} or "position_ids" not in _parameters(inner):
        return False
    before = config._attn_implementation
    layout = Layout(sizes=(2, 2, 1), past=((), ((0, 2),), ((0, 2),)))
    ids = torch.zeros(5, dtype=torch.int64, device="meta")
    try:
        config._attn_implementation = NAME
        with torch.device("meta"), torch.no_grad():
            run(type(inner)(inner.config).eval(), ids, ids, layout, ids[:2])
    except Exception:  # noqa: BLE001 - the model author's code: whatever it cannot do with this, its rows are padded
        return False
    finally:
        config._attn_implementation = before
    expected = [window if kind == "sliding_attention" else None for kind in kinds]
    if len(kinds) == 1:
        expected *= config.num_hidden_layers
    return layout.called == expected


def _parameters(inner: Any) -> Any:  # noqa: ANN401
    return inspect.signature(inner.forward).parameters


def _index(module: nn.Module) -> int:
    index: Any = module.layer_idx
    return int(index)
