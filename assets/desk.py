"""A desk: one support desk's settings, and where its data lies.

`FEEDBACK_HOME` holds a folder a desk and the name of the active one; all that a desk produces lies in its folder.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from assets.settings_file import did_you_mean, say_faults
from feedback.exceptions import FeedbackError, SourceError
from feedback.files import write_atomically
from feedback.sources import Source, load_source
from kto_core import EvaluationConfig, KTOConfig, SFTConfig, TrainingError
from label_policy import shipped_policies

if TYPE_CHECKING:
    from feedback.lake import Lake
    from label_policy import Policy

_DEFAULT_HOME = "data"
_POINTER = "active.desk"  # a name that no desk can have


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferenceSettings(_Section):
    """Where the frozen reference comes from."""

    model: str = Field(default="tiny", description="a preset (tiny, smollm2) or a folder that transformers loads")
    rows: str = Field(
        default="training_set",
        description="what SFT learns from: `training_set` (its desirable rows) or a Parquet file of prompt, completion",
    )
    sft: dict[str, Any] = Field(
        default_factory=dict, description="kto_core.SFTConfig; `steps: 0` takes the model as it is"
    )

    @field_validator("sft")
    @classmethod
    def _valid_sft(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _checked(SFTConfig, value)


class DeskSettings(_Section):
    """`desk.yaml`: everything about a desk that a person decides."""

    source: str = Field(description="a mapping: the name of a shipped one, or the path of a SQL file")
    input: Path = Field(description="folder (or file) of raw logs")
    policy: str = Field(description="a label policy: the name of a shipped one, or the path of a YAML file")
    first_day: date = Field(description="the first daily partition")
    as_of: datetime | None = Field(default=None, description="build as things stood then; by default, as of each run")
    lookback_days: int = Field(default=14, ge=0, description="days before yesterday that the nightly run rebuilds")
    schedule: str = Field(default="0 2 * * *", description="cron of the nightly retrain, in UTC")
    heldout: float = Field(default=0.1, ge=0, lt=1, description="share of tickets that training never sees")
    audit_seed: int = Field(default=0, description="which of the possible audit samples is drawn")
    reference: ReferenceSettings = ReferenceSettings()
    kto: dict[str, Any] = Field(default_factory=dict, description="kto_core.KTOConfig")
    evaluation: dict[str, Any] = Field(default_factory=dict, description="kto_core.EvaluationConfig")
    truth: Literal["harbor"] | None = Field(default=None, description="a simulated desk whose right answers are known")
    audit_simulated: bool = Field(
        default=False, description="let verdicts that nobody gave stand in for people's; only where the truth is known"
    )
    launcher: tuple[str, ...] = Field(
        default=(),
        description="command that runs the training worker; by default forked from a process that has loaded torch",
    )

    @field_validator("as_of")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, such as 2026-11-01T00:00:00Z")
        if value is not None and value > datetime.now(UTC):
            raise ValueError(f"{value.isoformat()} has not come yet; name a moment that has passed, or leave it out")
        return value

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        # Here, since Dagster takes a second to load and most commands do without it.
        from dagster._utils.schedules import is_valid_cron_schedule

        if not is_valid_cron_schedule(value):
            raise ValueError(f"{value!r} is no cron schedule, such as 0 2 * * *")
        return value

    @field_validator("audit_simulated")
    @classmethod
    def _only_with_a_truth(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("truth") is None:
            raise ValueError(
                "needs truth: harbor, a desk whose right answers are known; leave it out and let people read the "
                "sample (`feedback-kto audit review`)"
            )
        return value

    @field_validator("kto")
    @classmethod
    def _valid_kto(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _checked(KTOConfig, value)

    @field_validator("evaluation")
    @classmethod
    def _valid_evaluation(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _checked(EvaluationConfig, value)


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
            if known := desk_names(home):
                raise FeedbackError(
                    f"no desk of {home} is active; name one with `feedback-kto use`: {', '.join(known)}"
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
        """What `desk.yaml` says."""
        path = self.path / "desk.yaml"
        text = ""
        try:
            text = path.read_text(encoding="utf-8")
            return DeskSettings.model_validate(yaml.safe_load(text))
        except FileNotFoundError as error:
            known = desk_names(self.home)
            advice = did_you_mean(self.name, known) if known else "make it with `feedback-kto init`"
            raise FeedbackError(f"{self.home} holds no desk {self.name}; {advice}") from error
        except OSError as error:
            raise FeedbackError(f"{path} cannot be read ({error.strerror}); make it readable") from error
        except (yaml.YAMLError, ValueError) as error:
            if isinstance(error, ValidationError):
                raise FeedbackError(f"{path}:{say_faults(error, text, DeskSettings)}") from error
            # A ValueError is YAML's too: a date that there is not, or text that is not UTF-8.
            raise FeedbackError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error

    @cached_property
    def lake(self) -> Lake:
        """The desk's tables."""
        # Here, since what reads them takes a third of a second to load and some commands do without it.
        from feedback.lake import Lake

        return Lake(self.path / "lake")

    @cached_property
    def policy(self) -> Policy:
        """The label policy that the settings name."""
        from label_policy import load_policy

        path = policy_path(self.settings.policy)
        if not path.is_file():
            raise FeedbackError(
                f"{self.path / 'desk.yaml'} names the policy {self.settings.policy}, which is no file and none of "
                f"{', '.join(shipped_policies())}; name another"
            )
        return load_policy(path)

    @cached_property
    def source(self) -> Source:
        """The mapping that the settings name."""
        try:
            return load_source(self.settings.source)
        except SourceError as error:
            raise SourceError(f"{self.path / 'desk.yaml'} names a source that cannot be used: {error}") from error


def feedback_home() -> Path:
    """The folder that everything lies in: `FEEDBACK_HOME`, or `./data`."""
    return Path(os.environ.get("FEEDBACK_HOME") or _DEFAULT_HOME).resolve()


def desk_names(home: Path) -> list[str]:
    """The desks that the folder holds."""
    return sorted(path.parent.name for path in home.glob("*/desk.yaml"))


def policy_path(name_or_path: str) -> Path:
    """The file of a shipped policy by its name, or the path as it is."""
    return shipped_policies().get(name_or_path) or Path(name_or_path)


def _checked(config: type[SFTConfig | KTOConfig | EvaluationConfig], value: dict[str, Any]) -> dict[str, Any]:
    try:
        config.from_dict(value)
    except TrainingError as error:
        raise ValueError(str(error)) from error
    return value
