"""The policy model: what a support lead writes down, validated.

A policy is an ordered list of rules; the first rule whose condition holds decides a draft's label. `load_policy` reads
one from YAML with file and line in every error; built directly in Python, the same checks raise pydantic's own error.
"""

import difflib
import math
import re
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StringConstraints, model_validator

from label_policy.columns import SIGNALS
from label_policy.conditions import Condition, parse_condition
from label_policy.digest import meaning_digest
from label_policy.exceptions import FieldError, PolicyError

NO_RULE = "no_rule"
"""The rule that an interaction gets where no rule holds."""

MAX_RULES = 200
"""More rules than anyone can hold in mind."""

_MAX_WINDOW = timedelta(days=3660)
_WINDOW = re.compile(r"([0-9]{1,6})\s*([smhd])")
_WINDOW_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Label(StrEnum):
    """What a rule says of a draft."""

    DESIRABLE = "desirable"
    UNDESIRABLE = "undesirable"
    ABSTAIN = "abstain"


class Tier(StrEnum):
    """How far a label can be trusted, strongest first."""

    CRITICAL = "critical"
    EXPLICIT = "explicit"
    STRONG = "strong"
    WEAK = "weak"


def _window(value: object) -> timedelta:
    """Read a maturity window such as ``7d``, ``36h``, ``30m`` or ``45s``."""
    if isinstance(value, timedelta):
        window = value
    else:
        match = _WINDOW.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise PolicyError(f"'{value}' is not a time span; write a whole number and a unit, as in 7d, 36h or 30m")
        window = timedelta(**{_WINDOW_UNITS[match[2]]: int(match[1])})
    if not timedelta(0) < window <= _MAX_WINDOW or window.microseconds:
        raise PolicyError(f"'{value}' is out of range; a window is longer than 0 and at most ten years")
    return window


def _condition(value: object) -> str:
    if isinstance(value, bool):
        raise PolicyError(f"a condition is SQL text; put it in quotes, as in when: '{str(value).upper()}'")
    if not isinstance(value, str):
        raise PolicyError("a condition is SQL text; write it after 'when:', or below it after 'when: >-'")
    parse_condition(value)
    return value


def _weight(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PolicyError(f"'{value}' is not a number; write a weight such as 1.0")
    if not math.isfinite(value) or value < 0:
        raise PolicyError(f"{value} cannot weigh a row; write a finite number that is 0 or more")
    return float(value)


_Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]


class Rule(BaseModel):
    """One rule: where its condition holds, and no earlier rule's did, it decides the label.

    Attributes:
        id: its name on every label it gives: lower-case letters, digits and underscores.
        when: the SQL condition over `INTERACTION_COLUMNS`; where it is NULL it does not hold.
        label: what it says of the draft.
        tier: how far that can be trusted; none for an abstaining rule.
        weight: the row's weight in training, 0 or more; 0 for an abstaining rule.
        why: one or more sentences for the people who audit its labels, edge cases included.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _RuleId
    when: Annotated[str, BeforeValidator(_condition)]
    label: Label
    tier: Tier | None = None
    weight: Annotated[float, BeforeValidator(_weight)] = 0.0
    why: _Sentence

    @cached_property
    def condition(self) -> Condition:
        """The parsed condition."""
        return parse_condition(self.when)

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if self.id == NO_RULE:
            raise FieldError(("id",), f"'{NO_RULE}' is what rows get that no rule decides; choose another id")
        for field in ("tier", "weight"):
            given = (
                getattr(self, field) not in (None, 0.0)
                if self.label is Label.ABSTAIN
                else field in self.model_fields_set
            )
            if self.label is Label.ABSTAIN and given:
                raise FieldError((field,), f"rule '{self.id}' abstains, so its rows do not train; remove its {field}")
            if self.label is not Label.ABSTAIN and (not given or getattr(self, field) is None):
                raise FieldError((field,), f"rule '{self.id}' is {self.label} and needs a {field}; add one")
        return self


def _known_signal(value: object) -> object:
    if value not in SIGNALS:
        near = difflib.get_close_matches(str(value), SIGNALS, n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"the signals are {', '.join(SIGNALS)}"
        raise PolicyError(f"there is no signal '{value}'; {advice}")
    return value


class Policy(BaseModel):
    """A label policy.

    Attributes:
        name: which policy this is, e.g. ``harbor-support``: lower-case letters, digits and hyphens.
        version: which version of it, counted from 1.
        description: what it is for, in a sentence or two.
        owner: who answers for it.
        maturity: for how long after the decision a signal may still come; a signal without a window is not waited for.
        rules: in order; the first that holds decides.

    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    version: Annotated[StrictInt, Field(ge=1)]
    description: _Sentence
    owner: _Sentence
    maturity: dict[Annotated[str, BeforeValidator(_known_signal)], Annotated[timedelta, BeforeValidator(_window)]] = {}
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        if not 1 <= len(self.rules) <= MAX_RULES:
            raise FieldError(("rules",), f"a policy has 1 to {MAX_RULES} rules, and this one has {len(self.rules)}")
        first: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            if rule.id in first:
                earlier = first[rule.id] + 1
                raise FieldError(
                    ("rules", index, "id"), f"rule id '{rule.id}' is already rule {earlier}'s; rename one of them"
                )
            first[rule.id] = index
        return self

    @property
    def id(self) -> str:
        """Name and version in one word, e.g. ``harbor-support.v1``."""
        return f"{self.name}.v{self.version}"

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what the policy means; see `label_policy.digest`."""
        return meaning_digest(self._meaning())

    def _meaning(self) -> dict[str, Any]:
        rules = [[rule.id, rule.condition.meaning, rule.label, rule.tier, rule.weight] for rule in self.rules]
        windows = {signal: window.total_seconds() for signal, window in self.maturity.items()}
        return {"maturity": windows, "rules": rules}
