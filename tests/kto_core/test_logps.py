"""The group step against the plainest computation there is: one unpadded forward a row, full head, in float64."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm

from kto_core.logps import LEAST_SHARED, Batch, GroupBatch, GroupLogps, completion_logps
from kto_core.models import with_lora
from kto_core.tokenization import Encoded

VOCABULARY = 61
SIZES = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}


def llama(*, tied: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=tied, pad_token_id=None, **SIZES))


def lora():
    model = with_lora(llama(tied=True), rank=2, alpha=4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


MODELS = {
    "tied": lambda: llama(tied=True),
    "untied": lambda: llama(tied=False),
    "lora": lora,
    "learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_layer=2, n_embd=16, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    ),
    "sliding window": lambda: MistralForCausalLM(
        MistralConfig(vocab_size=VOCABULARY, sliding_window=4, num_key_value_heads=1, **SIZES)
    ),
}
# Prompt and completion lengths, and those of the completion it is mismatched with.
RAGGED = [(7, 3, 5), (1, 6, 1), (12, 1, 6), (4, 5, 3), (9, 2, 2)]
ONE_TOKEN_PROMPTS = [(1, 3, 2), (1, 2, 4)]


@pytest.fixture(autouse=True)
def norms_in_float64(monkeypatch):
    """Transformers' RMSNorm rounds to float32 on the way, where 1e-10 cannot be seen."""

    def forward(self, x):
        return torch.nn.functional.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon)

    for norm in (LlamaRMSNorm, MistralRMSNorm):
        monkeypatch.setattr(norm, "forward", forward)


def make(name: str):
    torch.manual_seed(0)
    return MODELS[name]().double().train()


def rows_of(lengths, *, merged: bool = False, shared: int = 0):
    rng = np.random.default_rng(0)
    rows, others = [], []
    system = rng.integers(0, VOCABULARY, shared).astype(np.int32)
    for rest, own, other in lengths:
        ids = np.concatenate([system, rng.integers(0, VOCABULARY, rest).astype(np.int32)])
        prompt = len(ids)
        tail = [rng.integers(0, VOCABULARY, n).astype(np.int32) for n in (own, other)]
        rows.append(Encoded(ids=np.concatenate([ids, tail[0]]), start=prompt))
        others.append(Encoded(ids=np.concatenate([ids, tail[1]]), start=prompt))
        if merged and prompt > 2:  # the other completion swallowed the prompt's last token
            swallowed = np.concatenate([ids[:-1], tail[1]])
            others[-1] = Encoded(ids=swallowed, start=prompt - 1)
    return rows, others


def naive(model, rows):
    logps = []
    for row in rows:
        ids = torch.from_numpy(row.ids.astype(np.int64))
        token_logps = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
        logps.append(token_logps[row.start - 1 :].sum())
    return torch.stack(logps)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lengths", [RAGGED, ONE_TOKEN_PROMPTS], ids=["ragged", "one-token prompts"])
@pytest.mark.parametrize("merged", [False, True], ids=["clean border", "merged border"])
@pytest.mark.parametrize("shared", [0, LEAST_SHARED + 3], ids=["nothing shared", "system prompt"])
@pytest.mark.parametrize("name", MODELS)
def test_a_group_equals_the_naive_forward(name, shared, merged, lengths):
    model = make(name)
    rows, others = rows_of(lengths, merged=merged, shared=shared)
    # The pad id is a real token: padding is masked by position, not by id.
    logps, kl_logps = GroupLogps(model)(GroupBatch.collate(rows, others, pad_id=int(rows[0].ids[-1])))
    signs = torch.linspace(-1, 2, len(rows), dtype=torch.float64)
    ours = gradients(model, (logps * signs).sum())
    plain = naive(model, rows)
    theirs = gradients(model, (plain * signs).sum())
    torch.testing.assert_close(logps, plain, atol=1e-10, rtol=0)
    torch.testing.assert_close(kl_logps, naive(model, others), atol=1e-10, rtol=0)
    assert not kl_logps.requires_grad
    assert ours.keys() == theirs.keys()
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient, atol=1e-10, rtol=0)


def test_the_prefix_is_computed_once_and_the_head_on_completions_only():
    model = make("untied")
    rows, others = rows_of(RAGGED)
    batch = GroupBatch.collate(rows, others, pad_id=0)
    widths, heads = [], []
    model.model.embed_tokens.register_forward_hook(lambda _m, args, _o: widths.append(args[0].shape[1]))
    model.lm_head.register_forward_hook(lambda _m, args, _o: heads.append(args[0].shape[1]))
    GroupLogps(model)(batch)
    assert widths == [12 + 6 - 1, 6]
    assert heads == [6, 6]
    assert batch.padded_tokens == 5 * (12 + 6 - 1) + 5 * 6


def test_what_all_rows_begin_with_is_computed_once():
    model = make("untied")
    rows, others = rows_of(RAGGED, shared=LEAST_SHARED)
    batch = GroupBatch.collate(rows, others, pad_id=0)
    shapes = []
    model.model.embed_tokens.register_forward_hook(lambda _m, args, _o: shapes.append(tuple(args[0].shape)))
    GroupLogps(model)(batch)
    assert shapes == [(1, LEAST_SHARED), (5, 12 + 6 - 1), (5, 6)]
    assert batch.padded_tokens == LEAST_SHARED + 5 * (12 + 6 - 1) + 5 * 6
    # One prompt asked twice is shared but for its last token, from which the completions are predicted.
    twice = [rows[2], Encoded(ids=others[2].ids, start=others[2].start)]
    assert Batch.collate(twice, pad_id=0).prefix.shape == (2, 1)


@pytest.mark.parametrize("shared", [0, LEAST_SHARED])
def test_padding_columns_change_nothing(shared):
    model = make("tied")
    rows, _ = rows_of(RAGGED, shared=shared)
    together = completion_logps(model, Batch.collate(rows, pad_id=0))
    alone = torch.cat([completion_logps(model, Batch.collate([row], pad_id=0)) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-10, rtol=0)


def test_half_precision_sums_in_float32():
    model = make("tied").bfloat16()
    rows, _ = rows_of(RAGGED)
    assert completion_logps(model, Batch.collate(rows, pad_id=0)).dtype == torch.float32


def test_gradient_checkpointing_gives_the_same():
    rows, others = rows_of(RAGGED)
    batch = GroupBatch.collate(rows, others, pad_id=0)
    model = make("tied")
    plain = GroupLogps(model)(batch)
    expected = gradients(model, plain[0].sum())
    model.activation_checkpointing_enable()
    found = GroupLogps(model)(batch)
    torch.testing.assert_close(found, plain, atol=1e-10, rtol=0)
    for key, gradient in gradients(model, found[0].sum()).items():
        torch.testing.assert_close(gradient, expected[key], atol=1e-10, rtol=0)
