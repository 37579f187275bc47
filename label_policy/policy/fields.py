"""Types of the values in a policy, each with its check and its parser."""

import difflib
import math
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, StringConstraints

from label_policy.conditions.condition import parse_condition
from label_policy.exceptions import PolicyError
from label_policy.schema.columns import SIGNALS
from label_policy.schema.draft_columns import DRAFT_COLUMN_NAMES

_MAX_WINDOW = timedelta(days=3660)
_WINDOW = re.compile(r"([0-9]{1,9})\s*([smhd])")
_WINDOW_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Label(StrEnum):
    """A rule's verdict on a draft."""

    DESIRABLE = "desirable"
    UNDESIRABLE = "undesirable"
    ABSTAIN = "abstain"


CLASSES: tuple[Label, ...] = (Label.DESIRABLE, Label.UNDESIRABLE)
"""The labels that train."""


class State(StrEnum):
    """Whether later signals can still change a label."""

    PROVISIONAL = "provisional"
    FINAL = "final"


class Tier(StrEnum):
    """How far a label can be trusted, strongest first; all lists of tiers use this order."""

    CRITICAL = "critical"
    EXPLICIT = "explicit"
    STRONG = "strong"
    WEAK = "weak"


def strength(tier: str | None) -> tuple[int, str]:
    """Return a sort key: the strongest tier first; unknown names come last, in alphabetical order."""
    tiers = [*map(str, Tier)]
    return (tiers.index(tier) if tier in tiers else len(tiers)), tier or ""


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


def _number(value: object, example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PolicyError(f"'{value}' is not a number; write {example}")
    return float(value) + 0.0  # turns -0.0 into 0.0, which the canonical form writes differently


def _weight(value: object) -> float:
    weight = _number(value, "a weight such as 1.0")
    if not math.isfinite(weight) or weight < 0:
        raise PolicyError(f"{value} is not a weight; write a finite number that is 0 or more")
    return weight


def _speed(value: object) -> float:
    speed = _number(value, "characters a second, such as 50")
    if not 0.1 <= speed <= 10_000:
        raise PolicyError(f"nobody reads {value} characters a second; write a number from 0.1 to 10000, such as 50")
    return speed


def _precision(value: object) -> float:
    precision = _number(value, "a share such as 0.9")
    if not 0 < precision <= 1:
        raise PolicyError(f"{value} is not a share of correct labels; write a number above 0 and at most 1")
    return precision


def _share(value: object) -> float:
    share = _number(value, "a share such as 0.1")
    if not 0 <= share <= 1:
        raise PolicyError(f"{value} is not a share of rows; write a number from 0 to 1, such as 0.1")
    return share


def _confidence(value: object) -> float:
    confidence = _number(value, "a confidence such as 0.95")
    if not 0.5 <= confidence < 1:
        raise PolicyError(f"{value} is not a confidence level; write a number from 0.5 to below 1, such as 0.95")
    return confidence


def _most(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PolicyError(f"'{value}' is not a number of rows; write a whole number of 0 or more, such as 20")
    return value


def _term(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or not any(map(str.isalnum, text)):
        raise PolicyError(f"'{value}' is not a word or phrase; write the terms as text, as in [store credit, premium]")
    return " ".join(text.split())


def _one_of(what: str, known: Collection[str]) -> Callable[[object], object]:
    """Return a validator that refuses an unknown name and suggests the nearest known one."""

    def check(value: object) -> object:
        if value not in known:
            near = difflib.get_close_matches(str(value), known, n=1)
            advice = f"did you mean '{near[0]}'?" if near else f"the {what}s are {', '.join(known)}"
            raise PolicyError(f"there is no {what} '{value}'; {advice}")
        return value

    return check


STRATUM_COLUMNS = ("label", "tier", "rule", *DRAFT_COLUMN_NAMES, "source", "agent_id")
"""Columns of a label that can define the audit's strata."""


class Failing(StrEnum):
    """The consequence for a tier whose audit fails."""

    EXCLUDE = "exclude"
    BLOCK = "block"


RULE_ID = "[a-z][a-z0-9_]{0,63}"
"""Regular expression of a rule's id."""

Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
RuleId = Annotated[str, StringConstraints(pattern=f"^{RULE_ID}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Signal = Annotated[str, BeforeValidator(_one_of("signal", SIGNALS))]
KnownLabel = Annotated[Label, BeforeValidator(_one_of("label", tuple(Label)))]
KnownTier = Annotated[Tier, BeforeValidator(_one_of("tier", tuple(Tier)))]
Window = Annotated[
    timedelta, BeforeValidator(_window), PlainSerializer(lambda window: f"{int(window.total_seconds())}s")
]
When = Annotated[str, BeforeValidator(_condition)]
Weight = Annotated[float, BeforeValidator(_weight)]
Speed = Annotated[float, BeforeValidator(_speed)]
Precision = Annotated[float, BeforeValidator(_precision)]
Share = Annotated[float, BeforeValidator(_share)]
Confidence = Annotated[float, BeforeValidator(_confidence)]
Most = Annotated[int, BeforeValidator(_most)]
StratumColumn = Annotated[str, BeforeValidator(_one_of("stratum column", STRATUM_COLUMNS))]
KnownFailing = Annotated[Failing, BeforeValidator(_one_of("consequence", tuple(Failing)))]
Term = Annotated[str, BeforeValidator(_term)]
