"""Read numbers, units, days and months: many notations, one value."""

import re
from collections.abc import Sequence

from label_policy.edits.vocabulary import (
    BESIDE,
    CURRENCIES,
    MONTHS,
    MONTHS_BESIDE,
    NUMBER_WORDS,
    SCALES,
    UNIT_MODIFIERS,
    UNITS,
)

_COMMA_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_POINT_GROUPED = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}")
_DECIMAL_COMMA = re.compile(r"\d+,\d{1,2}")
_THOUSAND_OR_ONE = re.compile(r"[1-9]\d{0,2}\.\d{3}")
"""1.000: a thousand in most of Europe, one in English."""

_MOST_DIGITS = 15  # beyond this, words such as "hundred hundred hundred …" are not a number


def number_at(words: Sequence[str], at: int) -> tuple[str, int]:
    """Return the number that starts at `at`, as digits, and its end; an empty string if there is none."""
    if at >= len(words):
        return "", at
    word = words[at]
    if word[0].isdigit():
        if word[-1:].isalpha() and not (word[-1] == "k" and word[:-1].isdecimal()):
            return "", at  # 3rd, 2x
        end = at + 1
        value = f"{word[:-1]}000" if word[-1] == "k" else _ungrouped(word)
        while end < len(words) and words[end] == "000":  # 10 000
            value, end = value + "000", end + 1
        if end < len(words) and words[end] in SCALES and value.isdecimal() and len(value) < _MOST_DIGITS:
            value, end = str(int(value) * SCALES[words[end]]), end + 1
        return value, end
    if word not in NUMBER_WORDS and word not in SCALES:
        return "", at
    return _spelled_number(words, at)


def _ungrouped(number: str) -> str:
    """Return a number without the commas or points between its thousands, and with a decimal point."""
    if _COMMA_GROUPED.fullmatch(number):
        return number.replace(",", "")
    if _POINT_GROUPED.fullmatch(number) or _DECIMAL_COMMA.fullmatch(number):
        return number.replace(".", "").replace(",", ".")
    return number


def _spelled_number(words: Sequence[str], at: int) -> tuple[str, int]:
    total, current, end = 0, 0, at
    while end < len(words):
        word = words[end]
        if word in NUMBER_WORDS:
            current += NUMBER_WORDS[word]
        elif word in SCALES:
            if current >= 10**_MOST_DIGITS:
                break
            current = (current or 1) * SCALES[word]
            if SCALES[word] >= 1000:
                total, current = total + current, 0
        elif not (word == "-" and end + 1 < len(words) and words[end + 1] in NUMBER_WORDS):
            break
        end += 1
    return str(total + current), end


def unit_at(words: Sequence[str], at: int) -> tuple[str, int]:
    """Return the unit at `at`, after a number, and its number of words."""
    after = words[at : at + 3]
    skipped = int(len(after) > 1 and after[0] == "-")  # a 30-day trial
    after = after[skipped:]
    if len(after) > 1 and after[0] in UNIT_MODIFIERS and after[1] in UNITS:
        return f"{UNIT_MODIFIERS[after[0]]} {UNITS[after[1]]}", skipped + 2
    if after and after[0] in UNITS:
        return UNITS[after[0]], skipped + 1
    return "number", 0


def in_unit(value: str, unit: str) -> str:
    """Return the value without redundant zeros: $20.00, 9:00 am.

    An ambiguous value gets a mark, so that it equals only itself.
    """
    if unit in ("am", "pm"):
        return value.removesuffix(":00")
    if _THOUSAND_OR_ONE.fullmatch(value):
        return f"{value}?"
    return value.rstrip("0").rstrip(".") if "." in value and unit != "number" else value


def is_code(word: str) -> bool:
    """Return whether a word is a currency that can precede a number."""
    return len(word) <= 3 and word in CURRENCIES


def day_of(word: str) -> str:
    """Return the day of the month that a word such as 3 or 3rd may be, or an empty string."""
    digits = word[:-2] if word[-2:] in ("st", "nd", "rd", "th") else word
    return str(int(digits)) if digits.isdecimal() and len(digits) < 3 and 0 < int(digits) < 32 else ""


def month_at(words: Sequence[str], at: int) -> str:
    """Return the month at `at`, in English, or an empty string; May, March and short forms must look like dates."""
    word = words[at]
    if word in MONTHS:
        return MONTHS[word]
    if word not in MONTHS_BESIDE:
        return ""
    before = words[at - 1] if at else ""
    if before == "." and at > 1:
        before = words[at - 2]
    after = words[at + 1] if at + 1 < len(words) else ""
    return MONTHS_BESIDE[word] if before in BESIDE or before[:1].isdigit() or after[:1].isdigit() else ""
