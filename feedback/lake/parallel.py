"""Run work on items in parallel and return the results in order, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PROCESSORS: Final = os.cpu_count() or 1


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], *, ahead: int = PROCESSORS
) -> Iterator[Result]:
    """Yield `work(item)` for each of the items, in their order.

    Args:
        pool: runs the work.
        work: the function of one item.
        items: taken one at a time, and no sooner than needed.
        ahead: how many items the pool may hold beyond the one whose result is next.

    """
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
