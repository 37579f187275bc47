"""The callback through which long work reports its progress."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """A callback that gets the progress of a stage, at most a few times a second."""

    def __call__(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Take `done` of `total` `unit`s of `stage`, and figures to show beside them."""


def silent(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
    """Report nothing."""
