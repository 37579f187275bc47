"""Attention over rows packed in sequence without padding, with shared beginnings stored once.

A pass is a sequence of **segments**: shared beginnings of several rows (a system prompt, a repeated prompt), and the
rest of each row. A segment attends fully to the segments it continues and causally to itself, so the result equals that
of each row alone. A later pass may continue the segments of an earlier one: other completions of the same prompts reuse
the keys and values of the first pass.

The function is in transformers' registry of attention functions. `_packs` detects a model that does not use the
registry or needs unsupported options; its rows are padded instead.
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
# Options of attention functions without effect here.
_HARMLESS: Final = frozenset({"position_ids", "cache_position", "position_embeddings", "is_causal", "return_dict"})


@dataclass(kw_only=True)
class Layout:
    """The segments of one pass, and the segments that they continue.

    Attributes:
        sizes: number of tokens of each segment, in order.
        past: for each segment, the (segment, tokens) that it continues, from the first token of the row on.
        earlier: keys and values by layer of the pass that `past` refers to; None if it is this pass.
        kept: receives keys and values by layer, without gradient, for a later pass; None keeps none.

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
        """Return the additive mask for the scores of the last `own` of `past + own` positions, [own, past + own]."""
        most_own, most_past = max(self.sizes), max(sum(tokens for _, tokens in past) for past in self.past)
        if (window, query.dtype) not in self._masks:
            query_places = torch.arange(most_past, most_past + most_own, device=query.device)[:, None]
            seen = torch.arange(most_past + most_own, device=query.device)[None]
            hidden = seen > query_places if window is None else (seen > query_places) | (seen <= query_places - window)
            mask = torch.zeros(hidden.shape, device=query.device, dtype=query.dtype)
            self._masks[window, query.dtype] = mask.masked_fill_(hidden, float("-inf"))
        # Only distances count, so one mask serves segments of every size.
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
    **others: Any,  # noqa: ANN401 - options that a model passes to its attention
) -> tuple[Tensor, None]:
    """Compute attention of one layer, [1, tokens, heads, width], by segments; without a layout, transformers' SDPA.

    Args:
        module: the attention layer.
        query: [1, heads, tokens, width].
        key: [1, heads of keys and values, tokens, width].
        value: of the shape of `key`.
        attention_mask: only used without a layout.
        dropout: probability that a weight is dropped.
        scaling: factor on the scores; None means 1/√width.
        layout: the segments.
        sliding_window: number of positions a query sees, itself included.
        others: refused with a layout if they could change the result.

    Raises:
        ValueError: if the layer passes an unsupported option.
    """
    if layout is None:
        options = others if sliding_window is None else others | {"sliding_window": sliding_window}
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    if unsupported := {n for n, v in others.items() if v is not None and v is not False} - _HARMLESS:
        raise ValueError(f"packed rows cannot be attended to with {', '.join(sorted(unsupported))}")
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
    """Return the first tokens of a piece; a full slice would cost a zero-filled gradient, so the piece itself."""
    return piece if tokens == piece.shape[2] else piece[:, :, :tokens]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)  # without a layout, the masks of SDPA


def pack(model: nn.Module) -> bool:
    """Make `model` use `attend` from now on if it can; return whether it does."""
    inner = causal(model)
    config = inner.config.get_text_config()
    if config._attn_implementation != NAME and not _packs(inner):
        return False
    for module in inner.modules():  # `without_dropout` gives parts of a model a config of their own
        if hasattr(module, "config"):
            module.config.get_text_config()._attn_implementation = NAME
    return True


def causal(model: nn.Module) -> Any:  # noqa: ANN401 - nn.Module does not declare a transformers model's attributes
    """Return the transformers model inside a peft wrapper, or the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def accepted(model: nn.Module, **options: object) -> dict[str, object]:
    """Keep the options that the model's forward accepts: ALiBi models take no positions, a few no `logits_to_keep`."""
    parameters = inspect.signature(causal(model).forward).parameters
    return {name: value for name, value in options.items() if name in parameters}


def run(model: nn.Module, ids: Tensor, positions: Tensor, layout: Layout, keep: Tensor) -> Tensor:
    """Compute the logits of one pass, [len(keep), vocabulary].

    Args:
        model: a model for which `pack` returned True.
        ids: int64 [T].
        positions: int64 [T], position of each token in its row.
        layout: layout of the T tokens.
        keep: int64 [C], tokens whose logits are returned.
    """
    output = model(
        input_ids=ids[None],
        position_ids=positions[None],
        # transformers uses a mask of four dimensions as it is and builds none.
        attention_mask=torch.zeros(1, 1, 1, 1, device=ids.device),
        use_cache=False,
        layout=layout,
        **accepted(model, logits_to_keep=keep),
    )
    logits: Tensor = output.logits[0]
    return logits if len(logits) == len(keep) else logits[keep]


def _packs(inner: Any) -> bool:  # noqa: ANN401
    """Return whether every layer uses the registry, tested by running the model's code without its weights."""
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
    except Exception:  # noqa: BLE001 - third-party model code; if it fails in any way, rows are padded
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
