"""Read the facts of a reply whose change is grave: numbers, amounts, dates, links, addresses and denials.

Facts are read from words by rule, not by a model: the same text gives the same facts on every machine, and a support
lead can see why an edit was called factual.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import TypeAlias

from label_policy.edits.numbers import day_of, in_unit, is_code, month_at, number_at, unit_at
from label_policy.edits.tokens import EMAIL, LINK, Remembered
from label_policy.edits.vocabulary import (
    ADVERBS_OF_PERIOD,
    BESIDE,
    BETWEEN_BOUND_AND_FACT,
    CURRENCIES,
    EVERY,
    FUNCTION_WORDS,
    LOWER,
    MONTHS,
    MONTHS_BESIDE,
    NEGATIONS,
    NUMBER_WORDS,
    ORDINALS,
    PARTS,
    PERIODS,
    PLEASANTRIES,
    SCALES,
    SOME,
    TIME_ZONES,
    TIMES_OF_DAY,
    UNITS,
    UPPER,
    WEEKDAYS,
    WEEKDAYS_BESIDE,
    WHICH,
    WISHES,
)

REACH = 5
"""Number of words that a denial reaches, and so the context around a change in which facts are read."""


Fact: TypeAlias = tuple[str, str]
"""Kind (a unit, ``number``, ``date``, ``link``, …) and value."""


@dataclass(slots=True)
class StatedFacts:
    """The facts of a stretch of words."""

    words: list[str] = field(default_factory=list)
    """The words, each fact in one notation: ``$=1000``, ``day=2``, ``date=3 march``."""
    facts: list[Fact] = field(default_factory=list)
    """In the order of the text."""
    denied: list[str] = field(default_factory=list)
    """The first content word after each negation."""
    bounds: dict[str, set[str]] = field(default_factory=dict)
    """Facts with a word before them that makes them a limit, to ``upper`` or ``lower``."""

    def add(self, kind: str, value: str, bound: str = "", written: str = "") -> None:
        """Add a fact; `written` is its word, if it should be kept instead of the notation."""
        self.facts.append((kind, value))
        self.words.append(written or f"{kind}={value}")
        if bound:
            self.bounds.setdefault(f"{kind}={value}", set()).add(bound)


Words: TypeAlias = list[str]
Reader: TypeAlias = Callable[[Words, int, StatedFacts], int]
"""Adds the fact that starts at a position, if any, and returns its number of words."""


def _is_word(word: str) -> bool:
    return word[0].isalnum() or word[0] == "_" or len(word) > 1 or word in UNITS


IS_WORD = Remembered(_is_word)
"""Whether a word is more than punctuation."""

IS_CONTENT = Remembered(lambda word: _is_word(word) and word not in FUNCTION_WORDS)
"""Whether a word has content, not only a grammatical function."""


# --- What each word may begin


def read(words: list[str]) -> StatedFacts:
    """Read the facts in a stretch of `words_of`'s words."""
    readers = [*map(READERS.__getitem__, words)]
    if not any(readers):
        return StatedFacts(words)
    stated, end = StatedFacts(), 0
    for position, candidates in enumerate(readers):
        if position < end:
            continue
        end = position + 1
        for reader in candidates:
            if length := reader(words, position, stated):
                end = position + length
                break
        else:
            stated.words.append(words[position])
    return stated


def _readers(word: str) -> tuple[Reader, ...]:
    """Return the readers of facts that may start at `word`, in the order to try."""
    if word in NEGATIONS:
        return (_denial,)
    if word.startswith((LINK, EMAIL)):
        return (_address,)
    if word[0].isdigit():
        number = (_number, _ordinal) if day_of(word) else (_number,)
        return (_day_and_month, *number, _code) if day_of(word) else (*number, _code)
    tables: tuple[tuple[Container[str], Reader], ...] = (
        (MONTHS.keys() | MONTHS_BESIDE.keys(), _month),
        (WEEKDAYS.keys() | WEEKDAYS_BESIDE.keys(), _weekday),
        (TIMES_OF_DAY, _time_of_day),
        (TIME_ZONES, _zone),
        (NUMBER_WORDS.keys() | SCALES.keys() | CURRENCIES.keys(), _number),
        (ORDINALS, _ordinal),
        (PARTS, _part),
        (PERIODS.keys() | ADVERBS_OF_PERIOD.keys(), _period),
    )
    readers = tuple(reader for table, reader in tables if word in table)
    return (*readers, _code) if any(map(str.isdigit, word)) else readers


READERS = Remembered(_readers)
"""The readers of facts that may start at a word; empty for most words."""


# --- Denials and addresses


def _denial(words: Words, at: int, stated: StatedFacts) -> int:
    after = words[at + 1 : at + 1 + REACH]
    if not after or after[0] not in PLEASANTRIES:
        stated.denied.append(next((word for word in after if IS_CONTENT[word] and word not in NEGATIONS), ""))
    stated.words.append(words[at])
    return 1


def _address(words: Words, at: int, stated: StatedFacts) -> int:
    kind, _, address = words[at].partition(":")
    # Repeated, as in a Markdown link, it is one fact.
    if (kind, address) not in stated.facts:
        stated.add(kind, address)
    return 1


def _code(words: Words, at: int, stated: StatedFacts) -> int:
    stated.add("number", words[at])  # such as the order number ab12
    return 1


# --- Dates and times of day


def _month(words: Words, at: int, stated: StatedFacts) -> int:
    month = month_at(words, at)
    if not month:
        return 0
    day = day_of(words[at + 1]) if at + 1 < len(words) else ""
    return _dated(words, at, at + 1 + bool(day), f"{day} {month}".strip(), stated)


def _day_and_month(words: Words, at: int, stated: StatedFacts) -> int:
    start = at + 1
    if start < len(words) and words[start] in (".", "of", "de"):
        start += 1
    month = month_at(words, start) if start < len(words) else ""
    return _dated(words, at, start + 1, f"{day_of(words[at])} {month}", stated) if month else 0


def _dated(words: Words, at: int, end: int, date: str, stated: StatedFacts) -> int:
    """Add a date, with its year if one follows."""
    year = end + (end < len(words) and words[end] in (",", ".", "de"))
    if year < len(words) and len(words[year]) == 4 and words[year].isdecimal():
        date, end = f"{date} {words[year]}", year + 1
    stated.add("date", date, _bound(words, at))
    return end - at


def _weekday(words: Words, at: int, stated: StatedFacts) -> int:
    word = words[at]
    if word not in WEEKDAYS and not _is_short_day(words, at):
        return 0
    stated.add("date", WEEKDAYS.get(word) or WEEKDAYS_BESIDE[word], _bound(words, at))
    return 1


def _is_short_day(words: Words, at: int) -> bool:
    """Return whether a short form is a weekday here: on Mon, Mon 3, Mon-Fri."""
    before, after = words[max(0, at - 2) : at], words[at + 1 : at + 3]
    if (before and before[-1] in BESIDE) or (after and day_of(after[0])):
        return True
    return any(len(end) == 2 and "-" in end and not WEEKDAYS_BESIDE.keys().isdisjoint(end) for end in (before, after))


def _time_of_day(words: Words, at: int, stated: StatedFacts) -> int:
    if at and words[at - 1] in WISHES:
        return 0
    stated.add("date", TIMES_OF_DAY[words[at]])
    return 1


def _zone(words: Words, at: int, stated: StatedFacts) -> int:
    before = words[at - 1] if at else ""
    if before not in ("am", "pm") and not before[:1].isdigit():
        return 0
    stated.add("zone", words[at])
    return 1


# --- Numbers


def _number(words: Words, at: int, stated: StatedFacts) -> int:
    start = at + is_code(words[at])  # € 20, EUR 20
    value, end = number_at(words, start)
    if not value:
        return 0
    values = [value]
    # In a range the unit follows the second number: 3 to 5 business days.
    if end + 1 < len(words) and words[end] in ("-", "to", "bis", "à"):
        upper, after = number_at(words, end + 1 + is_code(words[end + 1]))
        if upper:
            values, end = [value, upper], after
    unit, taken = (CURRENCIES[words[at]], 0) if start > at else unit_at(words, end)
    # A bare "one" is more often a pronoun than a number; a replacement by "two" is still a fact.
    if values == ["1"] and unit == "number":
        stated.words.append("one")
        return 1
    for value in values:
        stated.add(unit, in_unit(value, unit), _bound(words, at))
    return end + taken - at


def _ordinal(words: Words, at: int, stated: StatedFacts) -> int:
    word = words[at]
    if word not in ORDINALS:
        stated.add("ordinal", day_of(word))
        return 1
    before = words[at - 1] if at else ""
    after = words[at + 1] if at + 1 < len(words) else "."
    # "Second" is a rank depending on the next word; otherwise it is a moment or an adverb.
    if before in EVERY or after in ",-" or (word == "second" and not (IS_CONTENT[after] or after == "of")):
        return 0
    stated.add("ordinal", ORDINALS[word])
    return 1


def _part(words: Words, at: int, stated: StatedFacts) -> int:
    stated.add("part", words[at])
    return 1


def _bound(words: Words, at: int) -> str:
    """Return the kind of limit, upper or lower, that a word before `at` sets for a fact there, or an empty string."""
    start = at - 1
    while start >= 0 and at - start < REACH and words[start] in BETWEEN_BOUND_AND_FACT:
        start -= 1
    if start < 0:
        return ""
    return "upper" if words[start] in UPPER else "lower" if words[start] in LOWER else ""


# --- Periods: units of time without a number


def _period(words: Words, at: int, stated: StatedFacts) -> int:
    word = words[at]
    if word in ADVERBS_OF_PERIOD:
        stated.add(ADVERBS_OF_PERIOD[word], "1", written=word)
        return 1
    before = words[at - 1] if at else ""
    if before == "of" and at > 1:
        before = words[at - 2]  # a couple of days
    if before in EVERY:
        stated.add(PERIODS[word], "1", written=word)
    elif before in SOME:
        stated.add(PERIODS[word], SOME[before], written=word)
    elif before in WHICH:
        stated.add("date", f"{WHICH[before]} {PERIODS[word]}", written=word)
    else:
        return 0
    return 1
