"""`desk.yaml`: everything about a desk that a person decides, checked as it is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from croniter import croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from kto_core import EvaluationConfig, KTOConfig, SFTConfig, TrainingError


def _checked_by(config: type[SFTConfig | KTOConfig | EvaluationConfig]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A check that `config` takes the settings; they stay as they were written."""

    def check(settings: dict[str, Any]) -> dict[str, Any]:
        try:
            config.from_dict(settings)
        except TrainingError as error:
            raise ValueError(str(error)) from error
        return settings

    return check


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReferenceSettings(_Section):
    """Settings of the frozen reference."""

    model: str = Field(default="tiny", description="a preset (tiny, smollm2) or a folder that transformers loads")
    rows: str = Field(
        default="training_set",
        description="what SFT learns from: `training_set` (its desirable rows) or a Parquet file of prompt, completion",
    )
    sft: Annotated[dict[str, Any], AfterValidator(_checked_by(SFTConfig))] = Field(
        default_factory=dict, description="kto_core.SFTConfig; `steps: 0` takes the model as it is"
    )


class DeskSettings(_Section):
    """`desk.yaml`: everything about a desk that a person decides."""

    source: str = Field(description="a mapping: the name of a shipped one, or the path of a SQL file")
    input: Path = Field(description="folder (or file) of raw logs")
    policy: str = Field(description="a label policy: the name of a shipped one, or the path of a YAML file")
    first_day: date = Field(description="the first daily partition")
    as_of: datetime | None = Field(default=None, description="build as of this moment; by default, as of each run")
    lookback_days: int = Field(default=14, ge=0, description="days before yesterday that the nightly run rebuilds")
    schedule: str = Field(default="0 2 * * *", description="cron of the nightly retrain, in UTC")
    heldout: float = Field(default=0.1, ge=0, lt=1, description="share of tickets that training never sees")
    audit_seed: int = Field(default=0, description="which of the possible audit samples is drawn")
    reference: ReferenceSettings = ReferenceSettings()
    kto: Annotated[dict[str, Any], AfterValidator(_checked_by(KTOConfig))] = Field(
        default_factory=dict, description="kto_core.KTOConfig"
    )
    evaluation: Annotated[dict[str, Any], AfterValidator(_checked_by(EvaluationConfig))] = Field(
        default_factory=dict, description="kto_core.EvaluationConfig"
    )
    truth: Literal["harbor"] | None = Field(default=None, description="a simulated desk whose right answers are known")
    audit_simulated: bool = Field(
        default=False, description="let simulated verdicts stand in for people's; only where the truth is known"
    )
    launcher: tuple[str, ...] = Field(
        default=(),
        description="command that runs the training worker; by default forked from a process that has loaded torch",
    )

    @field_validator("launcher")
    @classmethod
    def _worker(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Settings of the time when the worker was in another package still name it so.
        return tuple(part.replace("assets.worker", "training_worker") for part in value)

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
        if not _is_cron(value):
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


def _is_cron(text: str) -> bool:
    """Return whether Dagster accepts `text` as a schedule: five fields (no seconds) that name an existing day."""
    if not croniter.is_valid(text):
        return False
    fields = croniter.expand(text)[0]
    return len(fields) == 5 and not (fields[3] == [2] and fields[2] in ([30], [31]))
