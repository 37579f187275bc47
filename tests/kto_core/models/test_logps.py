"""The group step against the plainest computation: one unpadded forward pass per row, full head, in float64."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm

from kto_core.data.tokenization import Encoded
from kto_core.models.logps import LEAST_SHARED, Batch, CompletionLogps, GroupBatch, GroupLogps, share_passes
from kto_core.models.model_folders import with_lora

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
PADDED = {
    "alibi": lambda: BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2)),
    "recurrent": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4)
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
    return (MODELS | PADDED)[name]().double().train()


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
    logps, kl_logps = GroupLogps(model)(GroupBatch.collate(rows, others))
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


def test_nothing_is_computed_twice_or_for_padding():
    model = make("untied")
    rows, others = rows_of(RAGGED)
    batch = GroupBatch.collate(rows, others)
    widths, heads = [], []
    model.model.embed_tokens.register_forward_hook(lambda _m, args, _o: widths.append(tuple(args[0].shape)))
    model.lm_head.register_forward_hook(lambda _m, args, _o: heads.append(args[0].shape[1]))
    network = GroupLogps(model)
    network(batch)
    # A row's last token is not read; y' begins with the prompt's last token, which predicts its first.
    assert widths == [(1, sum(prompt + own - 1 for prompt, own, _ in RAGGED)), (1, sum(other for *_, other in RAGGED))]
    assert heads == [sum(own for _, own, _ in RAGGED), sum(other for *_, other in RAGGED)]
    assert network.computed(batch) == batch.tokens == sum(width for _, width in widths)


def test_what_prompts_begin_with_is_computed_once():
    rows, others = rows_of(RAGGED, shared=LEAST_SHARED)
    apart = Batch.collate(rows_of(RAGGED)[0])
    batch = GroupBatch.collate(rows, others)
    assert len(batch.rows.ids) == LEAST_SHARED + len(apart.ids)
    assert len(batch.mismatched.ids) == sum(other for *_, other in RAGGED)
    # One prompt asked twice is shared but for its last token, from which the completions are predicted.
    twice = Batch.collate([rows[2], others[2]])
    assert twice.sizes == (LEAST_SHARED + 11, 1, 6)


def test_a_tree_of_beginnings_is_laid_down_once():
    long, tails = LEAST_SHARED, iter(range(100, 200))

    def row(*parts):
        prompt = [*np.repeat(parts, long), 99]
        return Encoded(ids=np.array([*prompt, *[next(tails)] * 3]), start=len(prompt))

    # Two desks, one of them with two tickets, one of which was answered twice; and a row of its own.
    rows = [row(1, 2, 3), row(1, 2, 4), row(1, 2, 4), row(5, 6, 7), row(1, 8, 9)]
    batch = Batch.collate(rows)
    parts = dict(zip(batch.leaves, batch.rows(), strict=True))
    assert [parts[leaf].tolist() for leaf in batch.leaves] == [row.ids[:-1].tolist() for row in rows]
    assert len(batch.ids) == long * (1 + 1 + 1 + 1 + 3 + 2) + 3 * 5
    assert batch.past[batch.leaves[3]] == ()
    assert len(batch.past[batch.leaves[1]]) == 3


@pytest.mark.parametrize("name", ["tied", "sliding window"])
def test_trees_of_any_form_equal_rows_alone(name):
    model = make(name)
    rng = np.random.default_rng(1)
    network = GroupLogps(model)
    for _ in range(8):
        # A few prompts that grow from one another, as the turns of a ticket do, each answered once or more.
        prompts = [rng.integers(0, VOCABULARY, rng.integers(1, 40))]
        for _ in range(6):
            kept = prompts[rng.integers(len(prompts))]
            kept = kept[: rng.integers(1, len(kept) + 1)]
            prompts.append(np.concatenate([kept, rng.integers(0, VOCABULARY, rng.integers(0, 40))]))
        prompts = [prompts[i] for i in rng.integers(len(prompts), size=9)]
        answers = [rng.integers(0, VOCABULARY, rng.integers(1, 5)) for _ in prompts]
        rows = [Encoded(ids=np.concatenate([x, y]), start=len(x)) for x, y in zip(prompts, answers, strict=True)]
        borrowed = zip(prompts, answers[1:] + answers[:1], strict=True)
        others = [Encoded(ids=np.concatenate([x, y]), start=len(x)) for x, y in borrowed]
        with torch.no_grad():
            logps, kl_logps = network(GroupBatch.collate(rows, others))
            torch.testing.assert_close(logps, naive(model, rows), atol=1e-10, rtol=0)
            torch.testing.assert_close(kl_logps, naive(model, others), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_packed_where_attention_goes_through_the_registry(name):
    assert GroupLogps(make(name)).packs


@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("merged", [False, True], ids=["clean border", "merged border"])
def test_rows_of_other_models_are_padded(name, merged):
    model = make(name)
    network = GroupLogps(model)
    rows, others = rows_of(RAGGED, merged=merged, shared=LEAST_SHARED)
    batch = GroupBatch.collate(rows, others)
    logps, kl_logps = network(batch)
    assert not network.packs
    assert network.computed(batch) > batch.tokens
    tolerance = {"atol": 1e-5, "rtol": 0}  # their code rounds to float32 on the way
    torch.testing.assert_close(logps, naive(model, rows), **tolerance)
    torch.testing.assert_close(kl_logps, naive(model, others), **tolerance)
    theirs = gradients(model, naive(model, rows).sum())
    for key, gradient in gradients(model, logps.sum()).items():
        torch.testing.assert_close(gradient, theirs[key], **tolerance)


def test_half_precision_sums_in_float32():
    model = make("tied").bfloat16()
    rows, _ = rows_of(RAGGED)
    assert CompletionLogps(model)(Batch.collate(rows)).dtype == torch.float32


def test_a_model_that_packs_still_answers_as_before():
    model = make("tied").eval()
    ids = torch.arange(8)[None]
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    before = model(input_ids=ids, attention_mask=mask).logits
    assert GroupLogps(model).packs
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, before, atol=0, rtol=0)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4))
def test_processes_meet_in_every_pass_and_every_row_counts_once(rows, processes, most):
    def cut(rows: Sequence[int]) -> list[list[int]]:
        return [list(rows[at : at + most]) for at in range(0, len(rows), most)]

    shares = [
        share_passes(list(range(rows)), cut, process=process, processes=processes) for process in range(processes)
    ]
    assert len({len(share) for share in shares}) == 1
    counted = [row for share in shares for part, counts in share for row in part if counts]
    assert sorted(counted) == list(range(rows))
    assert all(part for share in shares for part, _ in share)


def test_gradient_checkpointing_gives_the_same():
    rows, others = rows_of(RAGGED)
    batch = GroupBatch.collate(rows, others)
    model = make("tied")
    plain = GroupLogps(model)(batch)
    expected = gradients(model, plain[0].sum())
    model.activation_checkpointing_enable()
    found = GroupLogps(model)(batch)
    torch.testing.assert_close(found, plain, atol=1e-10, rtol=0)
    for key, gradient in gradients(model, found[0].sum()).items():
        torch.testing.assert_close(gradient, expected[key], atol=1e-10, rtol=0)
