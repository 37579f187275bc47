"""Encode (prompt, completion) into token ids and the start of the completion.

Prompt and completion are tokenized **together**, as the model sees them, and the completion starts where the ids differ
from those of the prompt alone. If a tokenizer merges across the border, the merged token belongs to the completion, and
nothing is masked or trained that the model never sees.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from transformers import PreTrainedTokenizerBase

from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import Report
from kto_core.data.datasets import Message

CHUNK: Final = 2000  # rows tokenized between two reports


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """Token ids of one prompt and completion.

    Attributes:
        ids: int32 [tokens]; the completion is `ids[start:]`, its end-of-turn token included unless it was cut.
        start: index of the completion's first token, at least 1.

    """

    ids: np.ndarray
    start: int

    @property
    def completion_tokens(self) -> int:
        """Number of tokens that the log-probability sums over."""
        return len(self.ids) - self.start

    def key(self) -> bytes:
        """Return a hash of the ids and the start, all that the row's log-probability depends on besides the weights."""
        return hashlib.sha256(self.start.to_bytes(4, "little") + self.ids.tobytes()).digest()


class Encoder:
    """Encodes with one tokenizer and its chat template, or a plain `Role: …` layout if it has none.

    Args:
        tokenizer: any transformers tokenizer.
        max_prompt_tokens: a longer prompt loses its beginning.
        max_completion_tokens: a longer completion loses its end (and then has no end-of-turn token).

    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, max_prompt_tokens: int, max_completion_tokens: int
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise TrainingError(
                "the tokenizer has no end-of-sequence token; set eos_token in its tokenizer_config.json"
            )
        self._tokenizer = tokenizer
        self._max_prompt = max_prompt_tokens
        self._max_completion = max_completion_tokens
        self._control = sorted({str(t) for t in tokenizer.get_added_vocab() if str(t).strip()}, key=len, reverse=True)

    @property
    def max_completion_tokens(self) -> int:
        """Maximum tokens of a completion."""
        return self._max_completion

    @property
    def end_id(self) -> int:
        """Token that ends a completion that was not cut off."""
        return int(self._tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """Token that pads a batch; padding is masked by position, so it may equal any other id."""
        pad = self._tokenizer.pad_token_id
        return int(pad if pad is not None else self._tokenizer.eos_token_id)

    def encode(self, pairs: Iterable[tuple[Sequence[Message], str]]) -> list[Encoded]:
        """Encode rows; the order is kept."""
        pairs = list(pairs)
        texts = self._render([prompt for prompt, _ in pairs])
        alone = self._tokenize(texts)
        together = self._tokenize([text + self._plain(y) for text, (_, y) in zip(texts, pairs, strict=True)])
        return [self._cut(before, whole) for before, whole in zip(alone, together, strict=True)]

    def encode_prompts(self, prompts: Sequence[Sequence[Message]]) -> list[np.ndarray]:
        """Encode prompts for generation: int32 [tokens] each, at most `max_prompt_tokens`, at least one."""
        return [self._begun(ids)[-self._max_prompt :] for ids in self._tokenize(self._render(prompts))]

    def _cut(self, before: np.ndarray, whole: np.ndarray) -> Encoded:
        shared = min(len(before), len(whole))
        differs = np.flatnonzero(before[:shared] != whole[:shared])
        start = int(differs[0]) if len(differs) else shared
        prompt = self._begun(whole[:start])[-self._max_prompt :]
        completion = whole[start : start + self._max_completion]
        if len(whole) - start < self._max_completion:
            completion = np.append(completion, np.int32(self._tokenizer.eos_token_id))
        return Encoded(ids=np.concatenate([prompt, completion]).astype(np.int32), start=len(prompt))

    def _begun(self, prompt: np.ndarray) -> np.ndarray:
        """Add a first token to an empty prompt, because the first completion token needs a predecessor."""
        if len(prompt):
            return prompt
        begin = self._tokenizer.bos_token_id
        return np.array([begin if begin is not None else self._tokenizer.eos_token_id], dtype=np.int32)

    def _tokenize(self, texts: list[str]) -> list[np.ndarray]:
        if not texts:
            return []
        encoding = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [np.array(ids, dtype=np.int32) for ids in encoding["input_ids"]]

    def _render(self, prompts: Sequence[Sequence[Message]]) -> list[str]:
        messages = [[{"role": m["role"], "content": self._plain(m["content"] or "")} for m in p] for p in prompts]
        if self._tokenizer.chat_template is None:
            return [_plain_layout(turns, self._tokenizer.bos_token or "") for turns in messages]
        try:
            return [
                str(self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
                for turns in messages
            ]
        except Exception as error:  # a template is a program of the model's author and may raise anything
            raise TrainingError(
                f"the model's chat template refuses a prompt: {error}; check the prompt's roles"
            ) from error

    def _plain(self, text: str) -> str:
        """Break up control tokens that a customer typed, so that text never ends a turn or opens another."""
        for token in self._control:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def encode_sides(
    encoder: Encoder,
    places: Sequence[int],
    *sides: Callable[[Sequence[int]], Sequence[tuple[Sequence[Message], str]]],
    unit: str,
    report: Report,
) -> list[list[Encoded]]:
    """Encode the rows at `places` of each side, read by its function; reports stage `tokenize` in `unit`."""
    encoded_sides: list[list[Encoded]] = [[] for _ in sides]
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        for side_rows, read in zip(encoded_sides, sides, strict=True):
            side_rows.extend(encoder.encode(read(chunk)))
        report("tokenize", start + len(chunk), len(places), unit)
    return encoded_sides


def _plain_layout(turns: list[dict[str, str]], begin: str) -> str:
    text = "".join(f"{turn['role'].capitalize()}: {turn['content']}\n\n" for turn in turns)
    return f"{begin}{text}Assistant:\n"
