"""Make planned groups ready to be learned: tokens of every row and mismatched pair, and log π_ref of both.

What the cache lacks is computed group by group, the way training will compute it, by the policy before its first
step: it still is the reference then, so that no second model is ever in memory, and with a warm cache nothing is
computed at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PreTrainedModel

from kto_core.data import Rows
from kto_core.exceptions import TrainingError
from kto_core.groups import Group
from kto_core.logps import GroupBatch, GroupLogps
from kto_core.progress import Report
from kto_core.reference import LogpCache
from kto_core.tokenization import Encoded, Encoder

CHUNK = 250  # groups tokenized, or written to the cache, at a time


@dataclass(frozen=True, kw_only=True)
class EncodedGroup:
    """Tokens of a group's rows (x, y) and mismatched pairs (x, y'), in the same order."""

    rows: list[Encoded]
    mismatched: list[Encoded]

    @property
    def tokens(self) -> int:
        """Tokens of all rows, one by one."""
        return sum(len(row.ids) for row in self.rows)

    def batch(self, device: torch.device) -> GroupBatch:
        """Lay the group out as tensors on `device`."""
        return GroupBatch.collate(self.rows, self.mismatched).to(device)


@dataclass(frozen=True, kw_only=True)
class ReadyGroup:
    """A group with all that its loss needs besides the policy; tensors are [rows]."""

    encoded: EncodedGroup
    desirable: Tensor
    weights: Tensor
    reference_logps: Tensor
    reference_kl_logps: Tensor


def prepare_groups(
    groups: Mapping[int, Group],
    *,
    rows: Rows,
    encoder: Encoder,
    model: PreTrainedModel,
    cache: LogpCache,
    accelerator: Accelerator,
    report: Report,
) -> tuple[dict[int, ReadyGroup], int]:
    """Tokenize `groups` and look up or compute their reference log-probabilities.

    Args:
        groups: the groups that training will meet, by their index in the plan.
        rows: the training rows that groups index.
        encoder: tokenizes.
        model: the reference, on any device; left in evaluation mode.
        cache: of the reference's log-probabilities.
        accelerator: says on which device, and which share of the groups is this process's to compute.
        report: called with the stages `tokenize` and `reference` (groups).

    Returns:
        The ready groups by index, and how many log-probabilities had to be computed.
    """
    encoded = _encode(groups, rows, encoder, report)
    computed = _fill(cache, encoded, model, accelerator, report)
    desirable = torch.from_numpy(rows.desirable())
    weights = torch.from_numpy(rows.weights()).float()
    ready = {}
    for index, group in encoded.items():
        members = list(groups[index].rows)
        ready[index] = ReadyGroup(
            encoded=group,
            desirable=desirable[members],
            weights=weights[members],
            reference_logps=_known(cache, group.rows),
            reference_kl_logps=_known(cache, group.mismatched),
        )
    return ready, computed


def _encode(groups: Mapping[int, Group], rows: Rows, encoder: Encoder, report: Report) -> dict[int, EncodedGroup]:
    encoded: dict[int, EncodedGroup] = {}
    indices = sorted(groups)
    for at in range(0, len(indices), CHUNK):
        chunk = indices[at : at + CHUNK]
        own = [row for index in chunk for row in groups[index].rows]
        pairs = dict(zip(own, rows.pairs(own), strict=True))
        borrowed = [
            (pairs[row][0], pairs[partner][1])
            for index in chunk
            for row, partner in zip(groups[index].rows, groups[index].partners, strict=True)
        ]
        found, mismatched = iter(encoder.encode(pairs[row] for row in own)), iter(encoder.encode(borrowed))
        for index in chunk:
            members = groups[index].rows
            encoded[index] = EncodedGroup(
                rows=[next(found) for _ in members], mismatched=[next(mismatched) for _ in members]
            )
        report("tokenize", len(encoded), len(indices), "groups")
    return encoded


@torch.no_grad()
def _fill(
    cache: LogpCache,
    encoded: Mapping[int, EncodedGroup],
    model: PreTrainedModel,
    accelerator: Accelerator,
    report: Report,
) -> int:
    """Compute and keep what the cache lacks; every process computes its share, the main one writes."""
    lacking = [group for group in encoded.values() if None in cache.get(group.rows + group.mismatched)]
    accelerator.wait_for_everyone()  # all have read before anyone writes, so that all see the same groups lacking
    if not lacking:
        return 0
    reference = GroupLogps(model.to(accelerator.device).eval())
    computed = 0
    for at in range(0, len(lacking), CHUNK):
        chunk = lacking[at : at + CHUNK]
        mine: list[tuple[int, list[float]]] = []
        for place in range(accelerator.process_index, len(chunk), accelerator.num_processes):
            with accelerator.autocast():
                logps, kl_logps = reference(chunk[place].batch(accelerator.device))
            mine.append((place, [*logps.tolist(), *kl_logps.tolist()]))
            report("reference", at + place + 1, len(lacking), "groups")
        values = dict(gather_object(mine))
        if accelerator.is_main_process:
            for place, group in enumerate(chunk):
                cache.put(group.rows + group.mismatched, values[place])
        computed += sum(len(logps) for logps in values.values())
        accelerator.wait_for_everyone()
    return computed


def _known(cache: LogpCache, rows: list[Encoded]) -> Tensor:
    logps = torch.tensor([float("nan") if logp is None else logp for logp in cache.get(rows)])
    if not bool(torch.isfinite(logps).all()):
        raise TrainingError(
            "the reference gives a log-probability that is not finite; its weights are damaged, or its "
            "precision too small"
        )
    return logps
