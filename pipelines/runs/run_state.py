"""The state of a run: its process writes it down from its events, and the command shows it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from feedback.atomic_files import write_atomically
from training_worker.progress_lines import Progress

_FILE = "seen.json"


@dataclass
class StageSeen:
    """A stage of the run as far as it is known."""

    name: str
    state: str  # running, done, failed
    seconds: float = 0.0  # of one that is running, less the moment it began
    progress: Progress | None = None


@dataclass
class RunSeen:
    """The state of a run: its stages in the order they began, warnings, and why it failed."""

    run_id: str
    log: Path
    stages: dict[str, StageSeen] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    finished: bool = False

    def write(self) -> None:
        """Write it beside the log, for who follows the run."""
        stages = [
            {**asdict(stage), "progress": stage.progress and str(stage.progress)} for stage in self.stages.values()
        ]
        text = json.dumps({"stages": stages, "warnings": self.warnings, "error": self.error})
        write_atomically(self.log.with_name(_FILE), text)

    def read(self) -> None:
        """Learn what was written last, if anything was."""
        try:
            written = json.loads(self.log.with_name(_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        self.stages = {
            stage["name"]: StageSeen(**{**stage, "progress": stage["progress"] and Progress.parse(stage["progress"])})
            for stage in written["stages"]
        }
        self.warnings, self.error = written["warnings"], written["error"]


def run_folder(desk: Path, run_id: str) -> Path:
    """Where a run's log and messages lie in the desk's folder."""
    return desk / "runs" / run_id
