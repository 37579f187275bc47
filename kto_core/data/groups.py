"""Plan a KTO run: the mismatched completion y' of each row, the groups of rows, and their order.

y' belongs to the row, not to the group: rows form a ring ordered by a hash of their texts, and each borrows y' from
the next. The set of y' equals the set of y, and an added or removed row changes one other row's y', for any group size
and seed. So log-probabilities of pairs (x, y') can be cached like those of (x, y). A group is a fixed set of rows with
a class quota and its own z0. The plan depends on the rows, the config and the seed, not on the number of processes.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final, Literal

from kto_core.base.exceptions import TrainingError

Balance = Literal["oversample", "lambda", "none"]
Group = tuple[int, ...]  # row indices
WINDOW: Final = 32  # number of groups per window; rows of a class are sorted by length within a random window
REACH: Final = 64  # places along the ring within which rows swap a y' that is from their own prompt


def mismatch(prompts: Sequence[bytes], completions: Sequence[str]) -> list[int]:
    """Return, for each row, the row whose completion is its y': a permutation, never the row itself.

    Args:
        prompts: key of each row's prompt; a y' from a row with the same prompt is avoided where another is near.
        completions: each row's y.
    """
    keys = [
        hashlib.blake2b(prompt + text.encode(), digest_size=12).digest()
        for prompt, text in zip(prompts, completions, strict=True)
    ]
    ring = sorted(range(len(keys)), key=keys.__getitem__)
    lenders = ring[1:] + ring[:1]
    for place, row in enumerate(ring):
        if prompts[row] != prompts[lenders[place]]:
            continue
        for step in range(1, min(REACH, len(ring))):
            other = (place + step) % len(ring)
            if prompts[row] != prompts[lenders[other]] and prompts[ring[other]] != prompts[lenders[place]]:
                lenders[place], lenders[other] = lenders[other], lenders[place]
                break
    borrowed = dict(zip(ring, lenders, strict=True))
    return [borrowed[row] for row in range(len(ring))]


def plan_groups(
    desirable: Sequence[bool], lengths: Sequence[int], *, group_rows: int, balance: Balance, seed: int
) -> list[Group]:
    """Cut rows into groups; every row is in at least one.

    Args:
        desirable: the class of each row.
        lengths: length of each row, in any unit.
        group_rows: rows a group. With `oversample` every group has half of each class; otherwise sizes and class counts
            differ by at most one between groups, and no row repeats.
        balance: `oversample` repeats rows of the smaller class until both fill the groups equally.
        seed: seed of the grouping.

    Raises:
        TrainingError: if the rows are of one class only.
    """
    rng = random.Random(seed)
    classes = ([i for i, good in enumerate(desirable) if good], [i for i, good in enumerate(desirable) if not good])
    _require_both(*map(len, classes))
    if balance == "oversample":
        half = group_rows // 2
        count = math.ceil(max(map(len, classes)) / half)
        dealt = [_deal(rows, [half] * count, lengths, rng) for rows in classes]
    else:
        count = min(math.ceil(len(desirable) / group_rows), len(desirable) // 2)  # z0 is a mean: no group of one
        first = _quotas(len(classes[0]), count, start=0)
        second = _quotas(len(classes[1]), count, start=len(classes[0]) % count)
        dealt = [_deal(classes[0], first, lengths, rng), _deal(classes[1], second, lengths, rng)]
    return [(*good, *bad) for good, bad in zip(*dealt, strict=True)]


def plan_steps(groups: int, *, batch_groups: int, epochs: float, max_steps: int | None, seed: int) -> list[list[int]]:
    """Return group indices of each optimizer step, `batch_groups` each; every epoch has all groups in a new order.

    A batch may span the end of an epoch, so that every batch is full.
    """
    steps = max(1, math.ceil(epochs * groups / batch_groups))
    steps = min(steps, max_steps) if max_steps is not None else steps
    stream: list[int] = []
    for epoch in range(math.ceil(steps * batch_groups / groups)):
        order = list(range(groups))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        stream.extend(order)
    return [stream[i * batch_groups : (i + 1) * batch_groups] for i in range(steps)]


def class_weights(
    desirable: int, undesirable: int, *, balance: Balance, desirable_weight: float, undesirable_weight: float
) -> tuple[float, float]:
    """Return λ_D and λ_U of the loss; `lambda` scales them as if both classes had equally many rows."""
    if balance != "lambda":
        return desirable_weight, undesirable_weight
    half = (desirable + undesirable) / 2
    return desirable_weight * half / desirable, undesirable_weight * half / undesirable


def _require_both(desirable: int, undesirable: int) -> None:
    if not desirable:
        raise TrainingError(
            "the training set has no desirable row, and undesirable rows alone only unlearn; "
            "add positives (the SFT corpus will do), or a policy rule that finds them"
        )
    if not undesirable:
        raise TrainingError(
            "the training set has no undesirable row; fine-tune on these rows with SFT instead, "
            "or add a policy rule that finds bad replies"
        )


def _quotas(rows: int, groups: int, *, start: int) -> list[int]:
    """Divide `rows` rows over `groups` groups, the rest from `start` on; return each group's number of rows."""
    least, rest = divmod(rows, groups)
    return [least + ((group - start) % groups < rest) for group in range(groups)]


def _deal(rows: list[int], quotas: list[int], lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Fill each group's quota of one class; rows repeat, in full rounds, only if there are too few."""
    shuffled = rng.sample(rows, len(rows))
    stream = list(islice(cycle(shuffled), sum(quotas)))
    dealt: list[list[int]] = []
    taken = 0
    for start in range(0, len(quotas), WINDOW):
        window = quotas[start : start + WINDOW]
        bucket = sorted(stream[taken : taken + sum(window)], key=lambda row: lengths[row])
        taken += sum(window)
        rows_in_order = iter(bucket)
        dealt.extend(list(islice(rows_in_order, quota)) for quota in window)
    return dealt
