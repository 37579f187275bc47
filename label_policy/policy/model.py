"""The policy model: the validated content of a policy file.

A policy is an ordered list of rules; the first rule whose condition holds decides a draft's label. `load_policy` reads
one from YAML with file and line in every error; built in Python, the same checks raise pydantic's own error.
"""

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from label_policy.conditions.condition import Condition, parse_condition
from label_policy.exceptions import FieldError
from label_policy.policy.digest import meaning_digest
from label_policy.policy.fields import (
    KnownLabel,
    KnownTier,
    Label,
    Name,
    RuleId,
    Sentence,
    Signal,
    Speed,
    Term,
    Tier,
    Weight,
    When,
    Window,
)
from label_policy.policy.sections import SENT_TEXT, Audit, SentText, Training
from label_policy.schema.columns import SECONDS_TO_READ

NO_RULE = "no_rule"
"""The rule name on interactions where no rule holds."""

MAX_RULES = 200
"""Maximum number of rules; more cannot be kept in mind."""

_IN_EVERY_DIGEST = frozenset((Tier.CRITICAL, Tier.EXPLICIT, Tier.STRONG, Tier.WEAK))
"""Tiers whose training factor is in every digest. A tier added later counts only in digests of policies that give it:
adding one to `Tier` must not change the digests of existing policies, whose labels carry them."""

_TAKEN = {
    NO_RULE: "is the rule of rows that no rule decides",
    SENT_TEXT: "is the rule of texts that agents sent instead of a draft",
}


class Rule(BaseModel):
    """One rule: it decides the label where its condition holds and no earlier rule's does.

    Attributes:
        id: its name on every label it gives: lower-case letters, digits and underscores.
        when: the SQL condition over `INTERACTION_COLUMNS`; NULL counts as not true.
        label: its verdict on the draft.
        tier: how far the label can be trusted; None for an abstaining rule.
        weight: the row's weight in training, 0 or more; 0 for an abstaining rule.
        why: one or more sentences for the people who audit its labels, edge cases included.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: RuleId
    when: When
    label: KnownLabel
    tier: KnownTier | None = None
    weight: Weight = 0.0
    why: Sentence

    @cached_property
    def condition(self) -> Condition:
        """The parsed condition."""
        return parse_condition(self.when)

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if self.id in _TAKEN:
            raise FieldError(("id",), f"'{self.id}' {_TAKEN[self.id]}; choose another id")
        for field in ("tier", "weight"):
            is_set = (
                getattr(self, field) not in (None, 0.0)
                if self.label is Label.ABSTAIN
                else field in self.model_fields_set
            )
            if self.label is Label.ABSTAIN and is_set:
                raise FieldError((field,), f"the rule abstains, so its rows do not train; remove its {field}")
            if self.label is not Label.ABSTAIN and (not is_set or getattr(self, field) is None):
                raise FieldError((field,), f"a rule that is {self.label} needs a {field}; add one")
        return self


class Policy(BaseModel):
    """A label policy.

    Attributes:
        name: name of the policy, e.g. ``harbor-support``: lower-case letters, digits and hyphens.
        version: version of the policy, counted from 1.
        description: its purpose, in a sentence or two.
        owner: the person or team responsible for it.
        maturity: waiting time after the decision by signal; a signal without a window is not waited for.
        reading_speed: reading speed of a person, in characters a second, used for ``seconds_to_read``.
        terms: words and phrases whose change in an edit matters, such as names of plans; case does not matter.
        rules: rules in order; the first that holds decides.
        sent_text: makes training rows of the texts that agents sent instead of a draft.
        audit: precision that people's verdicts must show before a tier is trusted.
        training: which labels train.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    version: Annotated[StrictInt, Field(ge=1)]
    description: Sentence
    owner: Sentence
    maturity: dict[Signal, Window] = {}
    reading_speed: Speed | None = None
    terms: tuple[Term, ...] = ()
    rules: tuple[Rule, ...]
    sent_text: SentText | None = None
    audit: Audit = Audit()
    training: Training = Training()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise FieldError(("rules",), f"a policy has 1 to {MAX_RULES} rules, but this one has {len(self.rules)}")
        first: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            if rule.id in first:
                earlier = first[rule.id] + 1
                raise FieldError(
                    ("rules", index, "id"), f"rule id '{rule.id}' is already rule {earlier}'s; rename one of them"
                )
            first[rule.id] = index
            self._check_reading_speed(rule.condition, ("rules", index, "when"))
        if self.sent_text is not None:
            self._check_reading_speed(self.sent_text.condition, ("sent_text", "when"))
        return self

    def _check_reading_speed(self, condition: Condition, place: tuple[str | int, ...]) -> None:
        if SECONDS_TO_READ in condition.columns and self.reading_speed is None:
            raise FieldError(
                place, f"{SECONDS_TO_READ} needs the policy's reading_speed; add one in characters a second, such as 50"
            )

    @property
    def id(self) -> str:
        """Name and version joined, e.g. ``harbor-support.v1``."""
        return f"{self.name}.v{self.version}"

    @property
    def tiers_of_labels(self) -> frozenset[Tier]:
        """The tiers that labels of this policy can have."""
        sent = [self.sent_text.tier] if self.sent_text is not None else []
        return frozenset([*(rule.tier for rule in self.rules if rule.tier is not None), *sent])

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the policy's meaning; see `label_policy.policy.digest`."""
        return meaning_digest(self._meaning())

    def _meaning(self) -> dict[str, Any]:
        rules = [[rule.id, rule.condition.meaning, rule.label, rule.tier, rule.weight] for rule in self.rules]
        return {
            "maturity": {signal: window.total_seconds() for signal, window in self.maturity.items()},
            "reading_speed": self.reading_speed,
            "terms": sorted({term.casefold() for term in self.terms}),
            "rules": rules,
            "sent_text": self.sent_text and self.sent_text.meaning(),
            "audit": self.audit.meaning(),
            "training": {
                tier: factor
                for tier, factor in self.training.factors().items()
                if tier in _IN_EVERY_DIGEST or tier in self.tiers_of_labels
            },
        }
