"""Read the pairs of a training set: two completions of one prompt, of which one was preferred.

Pairs have two sources: `preferences/`, where one text was preferred to another (a ranking, or the text that an agent
sent instead of the draft), and **choice sets**, prompts with both a desirable and an undesirable row. A set gives as
many pairs as its larger class has rows, with each row in at least one pair. It does not give every combination, so that
a prompt which thousands of tickets share does not outweigh the rest. A row of weight 0 is in no set.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kto_core.base.exceptions import TrainingError
from kto_core.data.datasets import CORPUS, PROMPT, Rows, Split, TrainingSet, read_parquet
from kto_core.data.ranking_scores import choice_sets

PAIRS = pa.schema(
    [
        ("prompt", PROMPT),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("category", pa.string()),
        ("ticket_id", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs that training can use, and counts of unusable ones.

    Attributes:
        table: columns of `PAIRS`, each (prompt, chosen, rejected) once.
        preferred: number of pairs from `preferences/`, which come first; the others are from choice sets.
        weights: float64 [pairs]: 1 for pairs from `preferences/`, the product of both rows' weights for the others.
        refused: reason → number of pairs left out.
    """

    table: pa.Table
    preferred: int
    weights: np.ndarray
    refused: dict[str, int]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def require(self, where: Path) -> None:
        """Raise TrainingError, with counts, if the training set at `where` has no usable pair."""
        if not len(self):
            counts = ", ".join(f"{reason}: {count}" for reason, count in self.refused.items()) or "no pairs at all"
            raise TrainingError(
                f"training set {where} has no pairs to train on ({counts}): neither preferences/ nor a prompt with "
                "both a desirable and an undesirable row; train on its single rows by KTO, or give the label policy a "
                "sent_text, which makes pairs of edited drafts"
            )

    def side(self, name: str) -> Rows:
        """Return the prompts with their `chosen` or `rejected` completions."""
        columns = [self.table["prompt"], self.table[name]]
        return Rows(table=pa.table(columns, schema=CORPUS), refused={})

    def texts(self) -> list[tuple[bytes, str, str]]:
        """Return (prompt key, chosen, rejected) of every pair."""
        keys = self.side("chosen").prompt_keys()
        return list(zip(keys, self.table["chosen"].to_pylist(), self.table["rejected"].to_pylist(), strict=True))

    def take(self, places: Sequence[int] | np.ndarray) -> "Pairs":
        """Return the pairs at `places`, which must be ascending."""
        kept = np.asarray(places, dtype=np.int64)
        table = self.table.take(pa.array(kept))
        preferred = int((kept < self.preferred).sum())
        return Pairs(table=table, preferred=preferred, weights=self.weights[kept], refused=self.refused)


def read_pairs(data: TrainingSet, split: Split, rows: Rows) -> Pairs:
    """Read the pairs of one side of the split; there may be none.

    Args:
        data: the training set.
        split: the side.
        rows: the rows of that side, or the part of them that forms choice sets.

    Raises:
        TrainingError: if a file of pairs cannot be read.
    """
    files = sorted((data.folder / "preferences").glob(f"{split}-*.parquet"))
    stated = pa.concat_tables([PAIRS.empty_table(), *(read_parquet(file, PAIRS) for file in files)])
    good, bad = _dealt(rows)
    columns = {
        "prompt": rows.table["prompt"].take(good),
        "chosen": rows.table["completion"].take(good),
        "rejected": rows.table["completion"].take(bad),
        "category": rows.table["category"].take(good),
        "ticket_id": rows.table["ticket_id"].take(good),
    }
    table = pa.concat_tables([stated, pa.table(columns, schema=PAIRS)])
    row_weights = rows.weights()
    weights = np.concatenate([np.ones(stated.num_rows), row_weights[good] * row_weights[bad]])
    return _usable(Pairs(table=table, preferred=stated.num_rows, weights=weights, refused={}))


def _dealt(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return row indices of the desirable and the undesirable side of every pair of the choice sets."""
    desirable, weighty = rows.desirable(), rows.weights() > 0
    good: list[np.ndarray] = []
    bad: list[np.ndarray] = []
    for members in choice_sets(rows.prompt_keys(), desirable):
        liked = members[desirable[members] & weighty[members]]
        disliked = members[~desirable[members] & weighty[members]]
        if not len(liked) or not len(disliked):
            continue
        turns = np.arange(max(len(liked), len(disliked)))
        good.append(liked[turns % len(liked)])
        bad.append(disliked[turns % len(disliked)])
    none = np.array([], dtype=np.int64)
    return np.concatenate([none, *good]), np.concatenate([none, *bad])


def _usable(pairs: Pairs) -> Pairs:
    """Leave out unusable pairs, counted by the first reason that applies, and duplicates."""
    blank = np.zeros(len(pairs), dtype=bool)
    for name in ("chosen", "rejected"):
        empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(pairs.table[name])), 0)
        blank |= np.asarray(pc.fill_null(empty, True).to_numpy(zero_copy_only=False), dtype=bool)
    no_prompt = pc.fill_null(pc.equal(pc.list_value_length(pairs.table["prompt"]), 0), True).to_numpy(
        zero_copy_only=False
    )
    texts = pairs.texts()
    all_texts = set(texts)
    refused: Counter[str] = Counter()
    kept: list[int] = []
    seen: set[tuple[bytes, str, str]] = set()
    for place, text in enumerate(texts):
        prompt, chosen, rejected = text
        if no_prompt[place]:
            refused["empty prompt"] += 1
        elif blank[place]:
            refused["empty completion"] += 1
        elif chosen == rejected:
            refused["chosen and rejected are the same text"] += 1
        elif (prompt, rejected, chosen) in all_texts:
            refused["preferred one way and the other"] += 1
        elif text not in seen:
            seen.add(text)
            kept.append(place)
    usable = pairs.take(kept)
    return replace(usable, refused=dict(refused))
