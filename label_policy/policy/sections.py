"""A policy's sections beside its rules: the agent's own text, what the audit demands, and what trains."""

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
"""The rule of an agent's own text, on the label that it gets."""

SENT = ("edited_at IS NOT NULL", "final_text <> completion", "trim(final_text) <> ''")
"""What must hold of any draft for its final text to be a row of its own: another text was sent, and it is not blank."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SentText(_Section):
    """What an agent sent instead of a draft: a desirable row of its own, preferred to the draft.

    An edit shows what would have been right. The condition is over the draft's interaction; where it does
    not hold, nothing or a blank text was sent, or the draft was sent as it was, there is no such row.

    Attributes:
        when: the SQL condition over the edited draft's columns.
        tier: how far the agent's text can be trusted.
        weight: the row's weight in training.
        why: for the people who audit its labels.

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
        """All that must hold for a row: `SENT` and the section's own condition."""
        return (*map(parse_condition, SENT), self.condition)

    @property
    def signals(self) -> frozenset[str]:
        """The signals that can change the row: whether there is one, and what its text is."""
        return frozenset[str]().union(*(condition.signals for condition in self.conditions))

    def meaning(self) -> list[Any]:
        """What the digest is taken over."""
        return [self.condition.meaning, self.tier, self.weight]


class Audit(_Section):
    """What people read, and what they must find of a tier before it is trusted.

    Attributes:
        per_class: rows to read of each of desirable and undesirable, at least.
        precision: by tier, the share of labels that must at least be right, at the lower bound of its interval.
        strata: the columns by which labels are parted before they are drawn.
        floor: rows to read of each stratum, at least.
        overlap: the share of rows that two people read, so that their agreement can be measured.
        failing: what becomes of a tier that finds less: it does not train, or nothing does.
        confidence: of the intervals.
        suspects: rows of each class, at most, that are read because a model's scores speak against their labels.

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
                    ("strata",), f"'{column}' is missing, and precision is measured by it; list label and tier at least"
                )
        if len(set(self.strata)) < len(self.strata):
            raise FieldError(("strata",), "a column stands twice; list each once")
        return self

    def meaning(self) -> list[Any]:
        """What the digest is taken over: what came later counts only where it is not the default."""
        later = self.model_dump(mode="json", exclude_defaults=True, exclude={"per_class", "precision"})
        return [self.per_class, self.precision, *([later] if later else [])]


class Training(_Section):
    """Which labels train, and how much they count.

    Attributes:
        tiers: the tiers that train; by default all.
        weights: by tier, what the weights of its rules are multiplied by; 1 where none is given.

    """

    tiers: tuple[KnownTier, ...] = tuple(Tier)
    weights: dict[KnownTier, Weight] = {}

    @model_validator(mode="after")
    def _check_tiers(self) -> Self:
        if not self.tiers:
            raise FieldError(("tiers",), f"no tier trains; list at least one of {', '.join(Tier)}")
        return self

    def factors(self) -> dict[Tier, float]:
        """What a rule's weight is multiplied by, for the tiers that train."""
        return {tier: self.weights.get(tier, 1.0) for tier in Tier if tier in self.tiers}
