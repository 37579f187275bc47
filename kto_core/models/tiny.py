"""The preset `tiny`: a small Llama with its own vocabulary, built from the rows it will learn.

It is large enough to learn a desk's replies and small enough to train in minutes on two CPU cores. The same rows, shape
and seed give the same model.
"""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kto_core.base.config import TinyConfig
from kto_core.data.datasets import Rows

PAD, END = "<|pad|>", "<|end|>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
VOCABULARY_ROWS = 20_000  # enough for 4,096 tokens; keeps BPE training within seconds on any corpus
POSITIONS = 4096

# A turn costs two tokens; unknown roles become user turns that start with the role's name.
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role in ('system', 'user', 'assistant') %}{{ '<|' + m.role + '|>' }}"
    "{% else %}{{ '<|user|>' + m.role + ': ' }}{% endif %}"
    "{{ m.content + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tiny(rows: Rows, shape: TinyConfig, *, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Learn a byte-level BPE vocabulary from `rows` and build a Llama with random weights from `seed`."""
    tokenizer = _learn_vocabulary(rows, shape.vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=_multiple(shape.width * 8 / 3, 32),
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model, tokenizer


def _learn_vocabulary(rows: Rows, size: int) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),  # a digit a token: figures are spelled, not memorised
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[PAD, END, *ROLES.values()],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    stride = max(1, len(rows) // VOCABULARY_ROWS)
    texts: list[str] = []
    for prompt, completion in rows.pairs(range(0, len(rows), stride)):
        texts.extend(message["content"] or "" for message in prompt)
        texts.append(completion)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES.values()),
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _multiple(value: float, of: int) -> int:
    return max(of, round(value / of) * of)
