"""Compute summed log-probabilities of completions: each prompt once, no padding, the head on completions only.

Rows are packed in sequence (`packing`). A shared beginning of several rows is stored once, and gradients flow back into
it from all of them. A second completion of the same prompts continues from the first pass's keys and values. Models
whose attention cannot be packed compute padded rows, with the same results.

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

LEAST_SHARED: Final = 16  # tokens; attention to a separate segment costs more than computing fewer tokens twice


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows packed in sequence: T tokens in segments, C of them before a completion token, B rows.

    The last token of a row is predicted and never read, so it is not among the T.

    Attributes:
        ids: int64 [T].
        positions: int64 [T], position of each token in its row.
        sizes: number of tokens of each segment.
        past: for each segment, the (segment, tokens) that it continues, in this batch or in the batch that this one
            continues.
        leaves: for each row, the segment with its end.
        before: int64 [C], index among the T of the token before each completion token.
        targets: int64 [C], the completion tokens.
        row: int64 [C], row of each completion token.

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
        """Pack rows; a common beginning of several prompts, of at least `LEAST_SHARED` tokens, is stored once."""
        tree = _Tree(rows)
        return cls._of(rows, tree.pieces, tree.begins, tree.past, [tree.leaf[i] for i in range(len(rows))])

    @classmethod
    def continuing(cls, rows: Sequence[Encoded], first: "Batch", others: Sequence[Encoded]) -> Self:
        """Pack the part of `rows` after the tokens that they share with `others`, which are in `first`.

        Where the tokenizer merged differently across the border, the shared part ends before the prompt does.
        """
        # The last shared token is computed again, because its logits are needed.
        shared = [
            max(_agree(row, other, min(row.start, other.start)) - 1, 0) for row, other in zip(rows, others, strict=True)
        ]
        pieces = [row.ids[n:-1] for row, n in zip(rows, shared, strict=True)]
        past = []
        for leaf, n in zip(first.leaves, shared, strict=True):
            segments, remaining = [], n
            for segment, tokens in (*first.past[leaf], (leaf, first.sizes[leaf])):
                segments.append((segment, min(tokens, remaining)))
                remaining -= segments[-1][1]
            past.append(tuple(part for part in segments if part[1]))
        return cls._of(rows, pieces, shared, past, list(range(len(rows))))

    @classmethod
    def _of(
        cls,
        rows: Sequence[Encoded],
        pieces: Sequence[np.ndarray],
        begins: Sequence[int],
        past: Sequence[tuple[tuple[int, int], ...]],
        leaves: Sequence[int],
    ) -> Self:
        starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
        before = [
            np.arange(row.start - 1, len(row.ids) - 1) - begins[leaf] + starts[leaf]
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
        """Return the same batch on `device`."""
        names = ("ids", "positions", "before", "targets", "row")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    @property
    def lengths(self) -> Tensor:
        """Completion tokens of each row, int64 [B]."""
        return torch.bincount(self.row, minlength=len(self.leaves))

    def rows(self, first: "Batch | None" = None) -> list[Tensor]:
        """Return the token ids of each row but its last; `first` is the batch that this one continues."""
        earlier = self if first is None else first
        own, earlier_pieces = torch.split(self.ids, list(self.sizes)), torch.split(earlier.ids, list(earlier.sizes))
        return [torch.cat([*(earlier_pieces[s][:n] for s, n in self.past[leaf]), own[leaf]]) for leaf in self.leaves]


class _Tree:
    """Segments of rows: prompts with the same beginning share a segment until they differ or one of them ends.

    `pieces`, `begins` and `past` have one entry per segment: its tokens, its first position, and the segments it
    continues. `leaf` has each row's last segment.
    """

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.pieces: list[np.ndarray] = []
        self.begins: list[int] = []
        self.past: list[tuple[tuple[int, int], ...]] = []
        self.leaf: dict[int, int] = {}
        self._rows = rows
        self._grow(list(range(len(rows))), agreed=0, laid=0, past=())

    def _grow(self, members: list[int], *, agreed: int, laid: int, past: tuple[tuple[int, int], ...]) -> None:
        """Add segments for `members`, which agree in `agreed` tokens; the segments of `past` hold `laid` of these."""
        rows = self._rows
        if len(members) == 1:
            self.leaf[members[0]] = self._lay(rows[members[0]].ids[laid:-1], laid, past)
            return
        common = min(rows[i].start for i in members) - 1
        for i in members[1:]:
            common = agreed + _agree(rows[i], rows[members[0]], common, since=agreed)
        if common - laid >= LEAST_SHARED:
            segment = self._lay(rows[members[0]].ids[laid:common], laid, past)
            past, laid = (*past, (segment, common - laid)), common
        parts: dict[int, list[int]] = defaultdict(list)
        for i in members:
            ends = rows[i].start - 1 <= common
            parts[-1 - i if ends else int(rows[i].ids[common])].append(i)
        for part in parts.values():
            self._grow(part, agreed=common, laid=laid, past=past)

    def _lay(self, piece: np.ndarray, begin: int, past: tuple[tuple[int, int], ...]) -> int:
        self.pieces.append(piece)
        self.begins.append(begin)
        self.past.append(past)
        return len(self.pieces) - 1


def _agree(row: Encoded, other: Encoded, most: int, *, since: int = 0) -> int:
    """Count the equal tokens of two rows from `since` to `most`, before the first that differs."""
    differs = np.flatnonzero(row.ids[since:most] != other.ids[since:most])
    return int(differs[0]) if len(differs) else most - since


def token_batches(rows: Sequence[Encoded], *, tokens: int) -> list[list[Encoded]]:
    """Batch rows with the same beginnings together: at most `tokens` tokens without sharing, or one row."""
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
    """Return one process's forward passes over its share of a step's rows, and the weight of each pass.

    FSDP needs all processes in every pass. A process with fewer passes than another repeats one row with weight 0; all
    other passes have weight 1.

    Args:
        rows: rows of the step, the same in every process, at least one.
        cut: splits rows into passes, the same in every process.
        process: index of the process.
        processes: number of processes.
    """
    shares = [cut(rows[i::processes]) for i in range(processes)]
    own_passes = [(part, 1.0) for part in shares[process]]
    return own_passes + [([rows[0]], 0.0)] * (max(map(len, shares)) - len(own_passes))


@dataclass(frozen=True, kw_only=True)
class GroupBatch:
    """Rows (x, y), and their mismatched pairs (x, y') that continue them, or None if not needed."""

    rows: Batch
    mismatched: Batch | None

    @property
    def tokens(self) -> int:
        """Number of tokens of both, without repeats."""
        return len(self.rows.ids) + (0 if self.mismatched is None else len(self.mismatched.ids))

    @classmethod
    def collate(cls, rows: Sequence[Encoded], mismatched: Sequence[Encoded] | None) -> Self:
        """Pack `rows` and, for the same prompts in the same order, `mismatched`."""
        first = Batch.collate(rows)
        return cls(rows=first, mismatched=Batch.continuing(mismatched, first, rows) if mismatched else None)

    def to(self, device: torch.device) -> "GroupBatch":
        """Return the same batch on `device`."""
        return GroupBatch(rows=self.rows.to(device), mismatched=self.mismatched.to(device) if self.mismatched else None)


class CompletionLogps(nn.Module):
    """A causal model as a function from a batch to log π(y|x); accelerate wraps it for SFT and pairs.

    Args:
        model: a transformers causal model, bare or wrapped by peft.

    Attributes:
        packs: whether rows are packed; otherwise they are padded.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.packs = pack(model)
        # FSDP reads which modules to shard by.
        self._no_split_modules = causal(model)._no_split_modules

    def forward(self, batch: Batch) -> Tensor:
        """Return log π(y|x) summed over completion tokens, [B], with gradient."""
        return self._logps(batch)

    def _logps(self, batch: Batch, *, kept: dict[int, Pieces] | None = None) -> Tensor:
        if not self.packs:
            return _summed(_padded(self.model, batch, batch.rows()), batch)
        layout = Layout(sizes=batch.sizes, past=batch.past, kept=kept)
        return _summed(run(self.model, batch.ids, batch.positions, layout, batch.before), batch)


class GroupLogps(CompletionLogps):
    """A causal model as a function from a group to log π(y|x) and log π(y'|x); accelerate wraps it for KTO."""

    def forward(self, batch: GroupBatch | Batch) -> tuple[Tensor, Tensor | None] | Tensor:  # type: ignore[override]
        """Return log π of rows ([B], with gradient) and of mismatched pairs ([B], without), or only of rows."""
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
        """Count the tokens that the passes over `batch` compute, with padding and recomputed tokens."""
        if self.packs:
            return batch.tokens
        passes = [batch.rows.rows(), *([] if batch.mismatched is None else [batch.mismatched.rows(batch.rows)])]
        return sum(len(rows) * max(map(len, rows)) for rows in passes)


def _padded(model: nn.Module, batch: Batch, rows: list[Tensor]) -> Tensor:
    """Return the logits before each completion token, [C, vocabulary], of rows padded to the longest."""
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
