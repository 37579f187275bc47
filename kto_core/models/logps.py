"""Summed log-probabilities of completions: every prompt computed once, no padding, the head on completions only.

Rows are packed one behind the other (`packing`), what several of them begin with lies there once, and gradients flow
back into it from all. A second completion of the same prompts continues from the first pass's keys and values. Models
that do not attend in a way that can be packed compute padded rows; the results are the same.

Log-probabilities are summed in float32, or in float64 if the model computes in it.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from kto_core.data.tokenization import Encoded
from kto_core.models.packing import Layout, Pieces, accepted, causal, pack, run

Row = TypeVar("Row")

LEAST_SHARED: Final = 16  # tokens; attending to a segment apart costs more than computing fewer twice


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows packed one behind the other: T tokens in segments, C of them before a completion token, B rows.

    The last token of a row is predicted and never read, so that it is not among the T.

    Attributes:
        ids: int64 [T].
        positions: int64 [T], of each token in its row.
        sizes: tokens of each segment.
        past: for each segment, the (segment, tokens) that it continues: of this batch, or of the one it continues.
        leaves: for each row, the segment that holds its end.
        before: int64 [C], index among the T of the token before each completion token.
        targets: int64 [C], the completion tokens.
        row: int64 [C], whose they are.

    """

    ids: Tensor
    positions: Tensor
    sizes: tuple[int, ...]
    past: tuple[tuple[tuple[int, int], ...], ...]
    leaves: tuple[int, ...]
    before: Tensor
    targets: Tensor
    row: Tensor

    @classmethod
    def collate(cls, rows: Sequence[Encoded]) -> Self:
        """Pack rows; what at least `LEAST_SHARED` tokens of several prompts have in common is laid down once."""
        tree = _Tree(rows)
        return cls._of(rows, tree.pieces, tree.begins, tree.past, [tree.leaf[i] for i in range(len(rows))])

    @classmethod
    def continuing(cls, rows: Sequence[Encoded], first: "Batch", others: Sequence[Encoded]) -> Self:
        """Pack what `rows` have behind the tokens that they share with `others`, which `first` holds.

        Where a tokenizer merged across the border differently, a row leaves the other before its prompt's end.
        """
        # The token before the first that differs is computed again, since its logits are wanted.
        known = [
            max(_agree(row, other, min(row.start, other.start)) - 1, 0) for row, other in zip(rows, others, strict=True)
        ]
        pieces = [row.ids[n:-1] for row, n in zip(rows, known, strict=True)]
        past = []
        for leaf, n in zip(first.leaves, known, strict=True):
            way, left = [], n
            for segment, tokens in (*first.past[leaf], (leaf, first.sizes[leaf])):
                way.append((segment, min(tokens, left)))
                left -= way[-1][1]
            past.append(tuple(part for part in way if part[1]))
        return cls._of(rows, pieces, known, past, list(range(len(rows))))

    @classmethod
    def _of(
        cls,
        rows: Sequence[Encoded],
        pieces: Sequence[np.ndarray],
        begins: Sequence[int],
        past: Sequence[tuple[tuple[int, int], ...]],
        leaves: Sequence[int],
    ) -> Self:
        at = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
        before = [
            np.arange(row.start - 1, len(row.ids) - 1) - begins[leaf] + at[leaf]
            for row, leaf in zip(rows, leaves, strict=True)
        ]
        positions = [np.arange(begin, begin + len(piece)) for begin, piece in zip(begins, pieces, strict=True)]
        return cls(
            ids=torch.from_numpy(np.concatenate(pieces).astype(np.int64)),
            positions=torch.from_numpy(np.concatenate(positions).astype(np.int64)),
            sizes=tuple(len(piece) for piece in pieces),
            past=tuple(past),
            leaves=tuple(leaves),
            before=torch.from_numpy(np.concatenate(before).astype(np.int64)),
            targets=torch.from_numpy(np.concatenate([row.ids[row.start :] for row in rows]).astype(np.int64)),
            row=torch.from_numpy(np.repeat(np.arange(len(rows)), [row.completion_tokens for row in rows])),
        )

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        names = ("ids", "positions", "before", "targets", "row")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    @property
    def lengths(self) -> Tensor:
        """Completion tokens of each row, int64 [B]."""
        return torch.bincount(self.row, minlength=len(self.leaves))

    def rows(self, first: "Batch | None" = None) -> list[Tensor]:
        """Token ids of each row but its last; `first` is the batch that this one continues."""
        earlier = self if first is None else first
        own, known = torch.split(self.ids, list(self.sizes)), torch.split(earlier.ids, list(earlier.sizes))
        return [torch.cat([*(known[s][:n] for s, n in self.past[leaf]), own[leaf]]) for leaf in self.leaves]


class _Tree:
    """Segments of rows: prompts that begin alike share a segment up to where they part, or one of them is to end.

    `pieces`, `begins` and `past` have one entry a segment: its tokens, its first position, what it continues; `leaf`
    has each row's last segment.
    """

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.pieces: list[np.ndarray] = []
        self.begins: list[int] = []
        self.past: list[tuple[tuple[int, int], ...]] = []
        self.leaf: dict[int, int] = {}
        self._rows = rows
        self._grow(list(range(len(rows))), agreed=0, laid=0, past=())

    def _grow(self, members: list[int], *, agreed: int, laid: int, past: tuple[tuple[int, int], ...]) -> None:
        """Lay down `members`, which agree in `agreed` tokens, of which `laid` lie in the segments of `past`."""
        rows = self._rows
        if len(members) == 1:
            self.leaf[members[0]] = self._lay(rows[members[0]].ids[laid:-1], laid, past)
            return
        alike = min(rows[i].start for i in members) - 1
        for i in members[1:]:
            alike = agreed + _agree(rows[i], rows[members[0]], alike, since=agreed)
        if alike - laid >= LEAST_SHARED:
            segment = self._lay(rows[members[0]].ids[laid:alike], laid, past)
            past, laid = (*past, (segment, alike - laid)), alike
        parts: dict[int, list[int]] = defaultdict(list)
        for i in members:
            ends = rows[i].start - 1 <= alike
            parts[-1 - i if ends else int(rows[i].ids[alike])].append(i)
        for part in parts.values():
            self._grow(part, agreed=alike, laid=laid, past=past)

    def _lay(self, piece: np.ndarray, begin: int, past: tuple[tuple[int, int], ...]) -> int:
        self.pieces.append(piece)
        self.begins.append(begin)
        self.past.append(past)
        return len(self.pieces) - 1


def _agree(row: Encoded, other: Encoded, most: int, *, since: int = 0) -> int:
    """How many of their tokens from `since` to `most` agree before one differs."""
    differs = np.flatnonzero(row.ids[since:most] != other.ids[since:most])
    return int(differs[0]) if len(differs) else most - since


def token_batches(rows: Sequence[Encoded], *, tokens: int) -> list[list[Encoded]]:
    """Rows that begin alike together, at most `tokens` tokens a batch before anything is shared (or one row)."""
    batches: list[list[Encoded]] = []
    room = 0
    for row in sorted(rows, key=lambda row: row.ids.astype(">i4").tobytes()):
        if not batches or len(row.ids) > room:
            batches.append([])
            room = tokens
        batches[-1].append(row)
        room -= len(row.ids)
    return batches


def share_passes(
    rows: Sequence[Row], cut: Callable[[Sequence[Row]], list[list[Row]]], *, process: int, processes: int
) -> list[tuple[list[Row], float]]:
    """The forward passes of one process over its share of a step's rows, and what each pass counts.

    FSDP's processes meet in every pass. One whose rows fill fewer passes than another's does the rest with a row that
    counts 0; all other passes count 1.

    Args:
        rows: of the step, the same in every process, at least one.
        cut: makes passes of rows, the same ones in every process.
        process: whose passes are wanted.
        processes: how many there are.
    """
    shares = [cut(rows[i::processes]) for i in range(processes)]
    mine = [(part, 1.0) for part in shares[process]]
    return mine + [([rows[0]], 0.0)] * (max(map(len, shares)) - len(mine))


@dataclass(frozen=True, kw_only=True)
class GroupBatch:
    """Rows (x, y), and their mismatched pairs (x, y') continuing them, or None where they are not wanted."""

    rows: Batch
    mismatched: Batch | None

    @property
    def tokens(self) -> int:
        """Tokens of both, each once."""
        return len(self.rows.ids) + (0 if self.mismatched is None else len(self.mismatched.ids))

    @classmethod
    def collate(cls, rows: Sequence[Encoded], mismatched: Sequence[Encoded] | None) -> Self:
        """Lay out `rows` and, for the same prompts in the same order, `mismatched`."""
        first = Batch.collate(rows)
        return cls(rows=first, mismatched=Batch.continuing(mismatched, first, rows) if mismatched else None)

    def to(self, device: torch.device) -> "GroupBatch":
        """The same batch on `device`."""
        return GroupBatch(rows=self.rows.to(device), mismatched=self.mismatched.to(device) if self.mismatched else None)


class CompletionLogps(nn.Module):
    """A causal model seen as a function from a batch to log π(y|x); what accelerate wraps for SFT.

    Args:
        model: a transformers causal model, bare or wrapped by peft.

    Attributes:
        packs: whether rows are packed; else they are padded.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.packs = pack(model)
        # FSDP asks what to shard by.
        self._no_split_modules = causal(model)._no_split_modules

    def forward(self, batch: Batch) -> Tensor:
        """Log π(y|x) summed over completion tokens, [B], with gradient."""
        return self._logps(batch)

    def _logps(self, batch: Batch, *, kept: dict[int, Pieces] | None = None) -> Tensor:
        if not self.packs:
            return _summed(_padded(self.model, batch, batch.rows()), batch)
        layout = Layout(sizes=batch.sizes, past=batch.past, kept=kept)
        return _summed(run(self.model, batch.ids, batch.positions, layout, batch.before), batch)


class GroupLogps(CompletionLogps):
    """A causal model seen as a function from a group to log π(y|x) and log π(y'|x); what accelerate wraps for KTO."""

    def forward(self, batch: GroupBatch | Batch) -> tuple[Tensor, Tensor | None] | Tensor:  # type: ignore[override]
        """Log-probabilities of rows ([B], with gradient) and of mismatched pairs ([B], without), or of rows alone."""
        if isinstance(batch, Batch):
            return self._logps(batch)
        after = batch.mismatched
        if after is None:
            return self._logps(batch.rows), None
        kept: dict[int, Pieces] = {}
        logps = self._logps(batch.rows, kept=kept)
        with torch.no_grad():
            if self.packs:
                layout = Layout(sizes=after.sizes, past=after.past, earlier=kept)
                return logps, _summed(run(self.model, after.ids, after.positions, layout, after.before), after)
            return logps, _summed(_padded(self.model, after, after.rows(batch.rows)), after)

    def computed(self, batch: GroupBatch) -> int:
        """Tokens that the passes over `batch` compute, padding and what is computed again included."""
        if self.packs:
            return batch.tokens
        passes = [batch.rows.rows(), *([] if batch.mismatched is None else [batch.mismatched.rows(batch.rows)])]
        return sum(len(rows) * max(map(len, rows)) for rows in passes)


def _padded(model: nn.Module, batch: Batch, rows: list[Tensor]) -> Tensor:
    """Logits before each completion token, [C, vocabulary], of rows padded to the longest."""
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    columns = batch.positions[batch.before]
    since = int(columns.min())  # the head is cut off before the first completion
    output = model(
        input_ids=pad_sequence(rows, batch_first=True),
        attention_mask=mask,
        use_cache=False,
        **accepted(model, position_ids=(mask.cumsum(-1) - 1).clamp(min=0), logits_to_keep=mask.shape[1] - since),
    )
    logits: Tensor = output.logits
    return logits[batch.row, columns - (mask.shape[1] - logits.shape[1])]


def _summed(logits: Tensor, batch: Batch) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    token_logps = -cross_entropy(logits, batch.targets, reduction="none")
    return token_logps.new_zeros(len(batch.leaves)).index_add(0, batch.row, token_logps)
