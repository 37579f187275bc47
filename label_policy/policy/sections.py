"""A policy's sections besides its rules: the agent's own text, the audit's requirements, and training."""

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from label_policy.conditions.condition import Condition, parse_condition
from label_policy.exceptions import FieldError
from label_policy.policy.fields import (
    Confidence,
    Failing,
    KnownFailing,
    KnownTier,
    Most,
    Precision,
    Sentence,
    Share,
    StratumColumn,
    Tier,
    Weight,
    When,
)

SENT_TEXT = "sent_text"
"""The rule name on the label of an agent's own text."""

SENT = ("edited_at IS NOT NULL", "final_text <> completion", "trim(final_text) <> ''")
"""Conditions for a draft's final text to become a row: another text was sent, and it is not blank."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SentText(_Section):
    """The text that an agent sent instead of a draft: a desirable row of its own, preferred to the draft.

    An edit shows the right answer. The condition reads the draft's interaction. There is no row where it does not hold,
    where nothing or a blank text was sent, or where the draft was sent unchanged.

    Attributes:
        when: the SQL condition over the edited draft's columns.
        tier: how far the agent's text can be trusted.
        weight: the row's weight in training.
        why: explanation for the people who audit its labels.

    """

    when: When
    tier: KnownTier
    weight: Weight
    why: Sentence

    @cached_property
    def condition(self) -> Condition:
        """The parsed condition."""
        return parse_condition(self.when)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions of a row: `SENT` and the section's own."""
        return (*map(parse_condition, SENT), self.condition)

    @property
    def signals(self) -> frozenset[str]:
        """The signals that can change the row: its existence or its text."""
        return frozenset[str]().union(*(condition.signals for condition in self.conditions))

    def meaning(self) -> list[Any]:
        """Return the part of the policy's meaning that the digest hashes."""
        return [self.condition.meaning, self.tier, self.weight]


class Audit(_Section):
    """The rows that people read, and the precision that a tier must show before it is trusted.

    Attributes:
        per_class: minimum rows to read of each class, desirable and undesirable.
        precision: by tier, the minimum share of right labels, at the lower bound of its interval.
        strata: the columns that define the strata of the sample.
        floor: minimum rows to read of each stratum.
        overlap: the share of rows that two people read, so that their agreement can be measured.
        failing: consequence for a tier below its precision: it does not train, or nothing does.
        confidence: confidence level of the intervals.
        suspects: maximum rows of each class that are read because a model's scores contradict their labels.

    """

    per_class: Annotated[StrictInt, Field(ge=1)] = 200
    precision: dict[KnownTier, Precision] = {}
    strata: tuple[StratumColumn, ...] = ("label", "tier", "rule", "category")
    floor: Annotated[StrictInt, Field(ge=1)] = 5
    overlap: Share = 0.1
    failing: KnownFailing = Failing.EXCLUDE
    confidence: Confidence = 0.95
    suspects: Most = 20

    @model_validator(mode="after")
    def _check_strata(self) -> Self:
        for column in ("label", "tier"):
            if column not in self.strata:
                raise FieldError(
                    ("strata",), f"'{column}' is missing, but precision is measured by it; list at least label and tier"
                )
        if len(set(self.strata)) < len(self.strata):
            raise FieldError(("strata",), "a column appears twice; list each once")
        return self

    def meaning(self) -> list[Any]:
        """Return the part that the digest hashes; settings added later count only if they differ from the default."""
        later = self.model_dump(mode="json", exclude_defaults=True, exclude={"per_class", "precision"})
        return [self.per_class, self.precision, *([later] if later else [])]


class Training(_Section):
    """Which labels train, and their weights.

    Attributes:
        tiers: the tiers that train; by default all.
        weights: by tier, the factor on the weights of its rules; 1 by default.

    """

    tiers: tuple[KnownTier, ...] = tuple(Tier)
    weights: dict[KnownTier, Weight] = {}

    @model_validator(mode="after")
    def _check_tiers(self) -> Self:
        if not self.tiers:
            raise FieldError(("tiers",), f"no tier trains; list at least one of {', '.join(Tier)}")
        return self

    def factors(self) -> dict[Tier, float]:
        """Return the factor on a rule's weight, for each tier that trains."""
        return {tier: self.weights.get(tier, 1.0) for tier in Tier if tier in self.tiers}
