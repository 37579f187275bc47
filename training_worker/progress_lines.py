"""Progress as one line of text that a person reads in the run's log and the command turns into a bar."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from feedback.progress import Report

_FIGURE = r"\w+ -?(?:[\d.]+(?:e[+-]?\d+)?|inf|nan)"
_LINE = re.compile(
    r"^(?P<stage>[a-z_ ]+): (?P<done>\d+)/(?P<total>\d+) (?P<unit>[a-z]+)"
    rf"(?: \((?P<figures>{_FIGURE}(?:, {_FIGURE})*)\))?$"
)
_SECONDS_BETWEEN_LINES = 1.0


@dataclass(frozen=True)
class Progress:
    """`done` of `total` `unit`s of a stage, and figures worth seeing."""

    stage: str
    done: int
    total: int
    unit: str
    figures: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """The line that `parse` reads."""
        figures = ", ".join(f"{name} {value:.6g}" for name, value in self.figures.items())
        return f"{self.stage}: {self.done}/{self.total} {self.unit}" + (f" ({figures})" if figures else "")

    @classmethod
    def parse(cls, line: str) -> Progress | None:
        """Return the progress in a log line; None for any other line."""
        match = _LINE.match(line)
        if match is None:
            return None
        pairs = (pair.rsplit(" ", 1) for pair in (match["figures"] or "").split(", ") if pair)
        return cls(
            match["stage"], int(match["done"]), int(match["total"]), match["unit"],
            {name: float(value) for name, value in pairs},
        )  # fmt: skip


def log_progress(log: Callable[[str], object]) -> Report:
    """Return a report that writes to `log`, at most once a second per stage and always at the stage's end."""
    last: dict[str, float] = {}

    def report(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        now = time.monotonic()
        if done >= total or now - last.get(stage, -_SECONDS_BETWEEN_LINES) >= _SECONDS_BETWEEN_LINES:
            last[stage] = now
            log(str(Progress(stage, done, total, unit, figures)))

    return report
