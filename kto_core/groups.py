"""The plan of a KTO run: which rows stand together, whom each borrows y' from, and in which order groups are met.

A group is a fixed set of rows with a class quota and similar lengths. y' is the rows' own completions rotated inside
the group, so that the y' set is the y set, z0 belongs to the group alone, and its reference log-probabilities are the
same every epoch. The plan follows from the rows, the config and the seed; how many processes carry it out does not
matter.
"""

import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, zip_longest
from typing import Literal

from kto_core.exceptions import TrainingError

Balance = Literal["oversample", "lambda", "none"]
WINDOW = 32  # groups cut from rows sorted by length within a random window of so many, per class


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows learned together.

    Attributes:
        rows: row indices.
        partners: for each row, the row whose completion is its y'; a rotation of `rows`, never the row itself.
    """

    rows: tuple[int, ...]
    partners: tuple[int, ...]


def plan_groups(
    desirable: Sequence[bool],
    lengths: Sequence[int],
    *,
    group_rows: int,
    balance: Balance,
    seed: int,
    prompts: Sequence[Hashable] | None = None,
) -> list[Group]:
    """Cut rows into groups; every row is in at least one.

    Args:
        desirable: the class of each row.
        lengths: how long each row is, in any unit.
        group_rows: rows a group. With `oversample` every group has half of each class; otherwise sizes and class counts
            differ by at most one between groups, and no row repeats.
        balance: `oversample` repeats rows of the smaller class until both fill the groups alike.
        seed: decides the grouping.
        prompts: a key of each row's prompt; a y' from a row with the same prompt is avoided where a rotation can.

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
        count = min(math.ceil(len(desirable) / group_rows), len(desirable) // 2)  # no group of one: who lends it y'?
        first = _quotas(len(classes[0]), count, start=0)
        second = _quotas(len(classes[1]), count, start=len(classes[0]) % count)
        dealt = [_deal(classes[0], first, lengths, rng), _deal(classes[1], second, lengths, rng)]
    return [_rotate(good, bad, prompts, rng) for good, bad in zip(*dealt, strict=True)]


def plan_steps(groups: int, *, batch_groups: int, epochs: float, max_steps: int | None, seed: int) -> list[list[int]]:
    """Group indices of each optimizer step, `batch_groups` each; every epoch meets all groups in a new order.

    A batch may reach over the end of an epoch into the next, so that every batch is full.
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
    """λ_D and λ_U as the loss applies them: with `lambda`, scaled so that both classes weigh as if equally many."""
    if balance != "lambda":
        return desirable_weight, undesirable_weight
    half = (desirable + undesirable) / 2
    return desirable_weight * half / desirable, undesirable_weight * half / undesirable


def _require_both(desirable: int, undesirable: int) -> None:
    if not desirable:
        raise TrainingError(
            "the training set has no desirable row, and KTO on undesirable ones alone only unlearns; "
            "add positives (the SFT corpus will do), or a policy rule that finds them"
        )
    if not undesirable:
        raise TrainingError(
            "the training set has no undesirable row; fine-tune on these rows with SFT instead, "
            "or add a policy rule that finds what went wrong"
        )


def _quotas(rows: int, groups: int, *, start: int) -> list[int]:
    """Deal `rows` cards to `groups` players, beginning at `start`: each player's number of cards."""
    least, rest = divmod(rows, groups)
    return [least + ((player - start) % groups < rest) for player in range(groups)]


def _deal(rows: list[int], quotas: list[int], lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Fill each group's quota of one class; rows repeat, in full rounds, only if there are too few."""
    shuffled = rng.sample(rows, len(rows))
    stream = list(islice(cycle(shuffled), sum(quotas)))
    dealt: list[list[int]] = []
    taken = 0
    for at in range(0, len(quotas), WINDOW):
        window = quotas[at : at + WINDOW]
        bucket = sorted(stream[taken : taken + sum(window)], key=lambda row: lengths[row])
        taken += sum(window)
        cards = iter(bucket)
        dealt.extend(list(islice(cards, quota)) for quota in window)
    return dealt


def _rotate(good: list[int], bad: list[int], prompts: Sequence[Hashable] | None, rng: random.Random) -> Group:
    """Order a group's rows; choose the rotation with the fewest y' from the same prompt, none from the row itself."""
    rows = rng.sample(good + bad, len(good) + len(bad))
    best = min(range(1, len(rows)), key=lambda shift: _clashes(rows, shift, prompts))
    if _clashes(rows, best, None):
        # Repeats of a scarce row: alternating classes, each row's neighbour is of the other class.
        rows = [row for row in chain.from_iterable(zip_longest(good, bad)) if row is not None]
        best = 1
    return Group(rows=tuple(rows), partners=tuple(rows[best:] + rows[:best]))


def _clashes(rows: list[int], shift: int, prompts: Sequence[Hashable] | None) -> int:
    pairs = list(zip(rows, rows[shift:] + rows[:shift], strict=True))
    selves = sum(row == partner for row, partner in pairs)
    return selves * len(rows) + (sum(prompts[a] == prompts[b] for a, b in pairs) if prompts is not None else 0)
