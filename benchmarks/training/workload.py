"""Models and rows for comparing trainers: the same token ids for all, with any tokenizer.

A word is a token ("w17" has one id), prompts have random lengths around a mean, and the classes alternate.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kto_core.base.config import TinyConfig

SPECIAL = ("<pad>", "<eos>", "<unk>")
_TINY = TinyConfig()

MODELS = {
    "tiny": {
        "vocab_size": _TINY.vocabulary,
        "hidden_size": _TINY.width,
        "intermediate_size": 512,
        "num_hidden_layers": _TINY.layers,
        "num_attention_heads": _TINY.heads,
    },
    # HuggingFaceTB/SmolLM2-135M and meta-llama/Llama-3.2-1B, as their config.json have it.
    "smollm2": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
}


@dataclass(frozen=True)
class Shape:
    """Mean and standard deviation of token counts; `shared` tokens begin every prompt."""

    shared: int
    prompt: tuple[int, int]
    reply: tuple[int, int]


SHAPES = {
    "a": Shape(300, (150, 75), (60, 30)),
    "b": Shape(0, (200, 100), (60, 30)),
    "c": Shape(0, (1200, 0), (150, 0)),
}


def write_model(folder: Path, model: str) -> None:
    """Write a Llama of that shape with random weights, and a word tokenizer whose chat template adds nothing."""
    config = LlamaConfig(
        **MODELS[model],
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    words = {word: i for i, word in enumerate(SPECIAL)}
    words |= {f"w{i}": i for i in range(len(SPECIAL), config.vocab_size)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    fast.chat_template = "{{ messages[0]['content'] }}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


def write_rows(folder: Path, shape: Shape, *, rows: int, vocabulary: int) -> None:
    """Write a training set as the pipeline does, and `rows.parquet` with the same rows as plain texts."""
    drawn = random.Random(0)

    def words(length: int) -> str:
        return " ".join(f"w{drawn.randrange(len(SPECIAL), vocabulary)}" for _ in range(length))

    def about(mean: int, spread: int) -> int:
        return max(1, round(drawn.gauss(mean, spread)))

    shared = words(shape.shared)
    # The space after a completion separates it from the <eos> that TRL appends.
    plain = [
        {
            "prompt": f"{shared} {words(about(*shape.prompt))}".strip(),
            "completion": f" {words(about(*shape.reply))} ",
            "label": i % 2 == 0,
        }
        for i in range(rows)
    ]
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(plain), folder / "rows.parquet")
    ours = [
        row
        | {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "weight": 1.0,
            "tier": "strong",
            "rule": "drawn",
            "category": None,
            "ticket_id": str(i),
            "shown_date": "2026-11-01",
            "row_id": str(i),
        }
        for i, row in enumerate(plain)
    ]
    for label, name in ((True, "desirable"), (False, "undesirable")):
        (folder / name).mkdir()
        part = [row for row in ours if row["label"] is label]
        pq.write_table(pa.Table.from_pylist(part), folder / name / "train-0.parquet")
    policy = {"name": "drawn", "version": 1, "digest": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps({"version": "drawn", "policy": policy, "counts": {"train": rows}}))
