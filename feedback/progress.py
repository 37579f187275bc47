"""How long work says where it is."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Called at most a few times a second with how much of a stage is done, and figures worth seeing."""

    def __call__(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """`done` of `total` `unit`s of `stage`."""


def silent(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
    """Report to nobody."""
