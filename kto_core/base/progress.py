"""Progress reports: long work calls `report`; the caller of the work decides how to show it."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_BARS = 12


class Report(Protocol):
    """`report(stage, done, total, unit, **figures)`: `done` of `total` `unit`s of `stage`, and figures such as loss."""

    def __call__(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Take a report."""


def silent(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
    """Report nothing."""


def under(report: Report, name: str) -> Report:
    """Report the stages of one part of the work under its name: `trial 2 of 4: kto`."""

    def named(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        report(f"{name}: {stage}", done, total, unit, **figures)

    return named


class Paced:
    """Passes on at most one report every `seconds`, and always a stage's first and last."""

    def __init__(self, report: Report, *, seconds: float = 0.3) -> None:
        self._report = report
        self._seconds = seconds
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Take a report."""
        now = time.monotonic()
        if done >= total or stage != self._last[0] or now - self._last[1] >= self._seconds:
            self._last = (stage, now)
            self._report(stage, done, total, unit, **figures)


class TerminalReport:
    """Shows one bar per stage on stderr with its figures, or a line from time to time if stderr is not a terminal.

    Only the bars of the last stages are shown, as many as fit a screen. Use it as a context manager.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._plain = Paced(self._print_line, seconds=10)
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Take a report."""
        if not self._console.is_terminal:
            self._plain(stage, done, total, unit, **figures)
            return
        shown = _shown(figures)
        if stage not in self._tasks:
            if len(self._tasks) == _BARS:
                self._progress.remove_task(self._tasks.pop(next(iter(self._tasks))))
            self._tasks[stage] = self._progress.add_task(stage, total=total, unit=unit, figures=shown)
        self._progress.update(self._tasks[stage], completed=done, total=total, unit=unit, figures=shown)

    def _print_line(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        print(f"{stage} {done}/{total} {unit}  {_shown(figures)}".rstrip(), file=sys.stderr, flush=True)


def _shown(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
