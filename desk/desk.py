"""A desk: one support desk's settings, and where its data lies.

`FEEDBACK_HOME` holds a folder a desk and the name of the active one; all that a desk produces lies in its folder.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from desk.settings import DeskSettings
from desk.settings_errors import did_you_mean, say_faults
from feedback.atomic_files import write_atomically
from feedback.exceptions import FeedbackError, SourceError
from feedback.sources.source import Source, load_source
from label_policy import shipped_policies

if TYPE_CHECKING:
    from feedback.audits.audit_outcome import AuditOutcome
    from feedback.lake.delta import Lake
    from label_policy import Policy

_DEFAULT_HOME = "data"
_POINTER = "active.desk"  # a name that no desk can have


class Desk:
    """A desk's settings and folders. Raises FeedbackError where there is no such desk or its settings are wrong."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        self.path = home / name
        self.training_sets = self.path / "training_sets"
        self.models = self.path / "models"
        self.cache = self.path / "cache"
        self.releases = self.path / "releases"
        self.current = self.path / "current"
        self.heldout_scores = self.current / "heldout_scores.parquet"

    @classmethod
    def active(cls, home: Path | None = None) -> Desk:
        """The desk that `FEEDBACK_DESK` names, or else the one that was set up last (`FEEDBACK_HOME/active.desk`)."""
        home = home or feedback_home()
        pointer = home / _POINTER
        if name := os.environ.get("FEEDBACK_DESK"):
            return cls(home, name)
        if not pointer.is_file():
            if names := desk_names(home):
                raise FeedbackError(
                    f"no desk of {home} is active; name one with `feedback-kto use`: {', '.join(names)}"
                )
            raise FeedbackError(
                f"{home} holds no desk yet; make one with `feedback-kto demo` or `feedback-kto init`; if your desks "
                "lie elsewhere, give --home DIR or set FEEDBACK_HOME"
            )
        return cls(home, pointer.read_text(encoding="utf-8").strip())

    @classmethod
    def create(cls, home: Path, name: str, settings: DeskSettings) -> Desk:
        """Write the desk's settings and make it the active one."""
        desk = cls(home, name)
        desk.path.mkdir(parents=True, exist_ok=True)
        write_atomically(
            desk.path / "desk.yaml",
            yaml.safe_dump(settings.model_dump(mode="json", exclude_defaults=True), sort_keys=False),
        )
        desk.activate()
        return desk

    def activate(self) -> None:
        """Make it the desk that commands and Dagster work on. Raises FeedbackError where it has no settings."""
        _ = self.settings
        write_atomically(self.home / _POINTER, self.name + "\n")

    @cached_property
    def settings(self) -> DeskSettings:
        """The settings in `desk.yaml`."""
        path = self.path / "desk.yaml"
        text = ""
        try:
            text = path.read_text(encoding="utf-8")
            return DeskSettings.model_validate(yaml.safe_load(text))
        except FileNotFoundError as error:
            names = desk_names(self.home)
            advice = did_you_mean(self.name, names) if names else "make it with `feedback-kto init`"
            raise FeedbackError(f"{self.home} holds no desk {self.name}; {advice}") from error
        except OSError as error:
            raise FeedbackError(f"{path} cannot be read ({error.strerror}); make it readable") from error
        except (yaml.YAMLError, ValueError) as error:
            if isinstance(error, ValidationError):
                raise FeedbackError(f"{path}:{say_faults(error, text, DeskSettings)}") from error
            # YAML raises ValueError too: for a date that does not exist, or for text that is not UTF-8.
            raise FeedbackError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error

    @cached_property
    def lake(self) -> Lake:
        """The desk's tables."""
        # Imported here, since the modules that read them take a third of a second to load, and some commands need none.
        from feedback.lake.delta import Lake

        return Lake(self.path / "lake")

    @cached_property
    def policy(self) -> Policy:
        """The label policy that the settings name."""
        from label_policy import load_policy

        path = policy_path(self.settings.policy)
        if not path.is_file():
            raise FeedbackError(
                f"{self.path / 'desk.yaml'} names the policy {self.settings.policy}, which is neither a file nor one "
                f"of {', '.join(shipped_policies())}; name another"
            )
        return load_policy(path)

    def measure_audit(self) -> AuditOutcome:
        """The quality of the desk's labels by the verdicts at hand, and the audit gate."""
        from feedback.audits.audit_outcome import measure_audit  # here, since most commands do without it

        return measure_audit(self.lake, self.policy, simulated=self.settings.audit_simulated)

    @cached_property
    def source(self) -> Source:
        """The mapping that the settings name."""
        try:
            return load_source(self.settings.source)
        except SourceError as error:
            raise SourceError(f"{self.path / 'desk.yaml'} names a source that cannot be used: {error}") from error


def feedback_home() -> Path:
    """Return the folder of all desks: `FEEDBACK_HOME`, or `./data`."""
    return Path(os.environ.get("FEEDBACK_HOME") or _DEFAULT_HOME).resolve()


def desk_names(home: Path) -> list[str]:
    """Return the names of the desks in the folder."""
    return sorted(path.parent.name for path in home.glob("*/desk.yaml"))


def policy_path(name_or_path: str) -> Path:
    """Return the file of a shipped policy by its name, or the path as it is."""
    return shipped_policies().get(name_or_path) or Path(name_or_path)
