"""The facts of a reply that no edit may touch lightly: numbers, amounts, dates, links, addresses and negations.

Facts are read from words by rule, not by a model: the same text gives the same facts on every machine, and a support
lead can see why an edit was called factual. Number words, negations and names of days and months are English; digits,
amounts, links and addresses are read in any language.
"""

import re
from functools import lru_cache

from label_policy.vocabulary import (
    DATES,
    DATES_BY_NUMBER,
    FUNCTION_WORDS,
    NEGATIONS,
    NUMBER_WORDS,
    PLEASANTRIES,
    SCALES,
    UNIT_MODIFIERS,
    UNITS,
)

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(
    r"[a-z]+(?:'[a-z]+)*(?=\s|[,.;:!?](?:\s|$)|$)"  # most words; tried first because it fails fast
    r"|https?://[^\s<>]+|www\.[^\s<>]+"  # a link
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # an e-mail address
    r"|[$€£¥]|%"
    r"|\d+(?:[.,:/\-–]\d+)*\w*"  # 30, 1,000.50, 10:30, 2026-01-31, 3rd
    rf"|[{_CJK}]"  # scripts without spaces: a character is a word
    rf"|(?:(?![{_CJK}])\w)+(?:['’](?:(?![{_CJK}])\w)+)*"
    r"|[^\w\s]"
)
_ENUMERATOR = re.compile(r"^[ \t]*\d{1,2}[.)](?=\s)", re.MULTILINE)
_LINK = ("http://", "https://", "www.")
_DIGIT = re.compile(r"\d")
_GROUPING_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")

# Four letters at least must follow: "interest" is not the denial of "terest", nor "under" of "der".
_NEGATING_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non)(?=\w{4})")

_DENIAL_REACH = 5

Facts = dict[str, list[str]]
"""Facts by kind (``day``, ``$``, ``number``, ``date``, ``link``, ``email``, ``not``), each in the order of the text. A
``not`` is kept as the first content word that it denies."""


def tokenize(text: str) -> list[str]:
    """Split `text` into words, numbers, links, addresses and single marks, in the form in which they are compared.

    Without case, with straight apostrophes, without commas inside numbers and without a list's own numbering.
    """
    plain = text.casefold().replace("’", "'")
    if _DIGIT.search(plain):
        plain = _GROUPING_COMMA.sub("", _ENUMERATOR.sub("", plain))
    tokens: list[str] = _TOKEN.findall(plain)
    return tokens


# The tests on single words are cached: a desk's replies share a small vocabulary, and a lookup costs a tenth of a test.
@lru_cache(maxsize=1 << 16)
def is_word(token: str) -> bool:
    """Return whether a token is more than punctuation."""
    return token[0].isalnum() or token[0] == "_" or token in UNITS


@lru_cache(maxsize=1 << 16)
def is_content(token: str) -> bool:
    """Return whether a token is a word that carries content, rather than grammar."""
    return is_word(token) and token not in FUNCTION_WORDS


def is_negation(word: str) -> bool:
    """Return whether a word denies something."""
    return word in NEGATIONS or word.endswith("n't")


def negates(word: str, other: str) -> bool:
    """Return whether one of two words is the other with a negating prefix, as in available and unavailable."""
    longer, shorter = (word, other) if len(word) > len(other) else (other, word)
    prefix = _NEGATING_PREFIX.match(longer)
    return prefix is not None and longer[prefix.end() :] == shorter


def read_facts(words: list[str]) -> Facts:
    """Return the facts in a stretch of `tokenize`'s words.

    Numbers are kept by unit, so that a clause that moves does not change a fact, but two amounts that swap places do.
    """
    facts: Facts = {}
    done = 0
    for position, word in enumerate(words):
        if position < done or not _may_be_fact(word):
            continue
        if word[0].isdigit() or word in NUMBER_WORDS:
            value, length = _number(words, position)
            done = position + length
            unit = _unit(words, position, done)
            # A bare "one" is a pronoun more often than a number.
            if word != "one" or unit != "number" or length > 1:
                facts.setdefault(unit, []).append(value)
        elif word in DATES:
            facts.setdefault("date", []).append(DATES[word])
        elif word in DATES_BY_NUMBER:
            if _beside_number(words, position):
                facts.setdefault("date", []).append(DATES_BY_NUMBER[word])
        elif is_negation(word):
            denied = _denied(words, position)
            if denied not in PLEASANTRIES:
                facts.setdefault("not", []).append(denied)
        elif "@" in word:
            facts.setdefault("email", []).append(word)
        else:
            kind = "link" if word.startswith(_LINK) else "number"  # such as the order number ab12
            facts.setdefault(kind, []).append(word.rstrip(".,;:!?)]'\""))
    return facts


@lru_cache(maxsize=1 << 16)
def _may_be_fact(word: str) -> bool:
    listed = word in NUMBER_WORDS or word in DATES or word in DATES_BY_NUMBER or is_negation(word)
    address = word.startswith(_LINK) or ("@" in word and len(word) > 1)
    return listed or address or any(map(str.isdigit, word))


def _number(words: list[str], start: int) -> tuple[str, int]:
    """Return the number that begins at `start`, as digits, and how many words it takes."""
    if words[start][0].isdigit():
        return words[start].rstrip("-–"), 1
    total, current, end = 0, 0, start
    while end < len(words):
        word = words[end]
        if word in NUMBER_WORDS:
            current += NUMBER_WORDS[word]
        elif word in SCALES and end > start:
            current *= SCALES[word]
            if word != "hundred":
                total, current = total + current, 0
        elif not (word == "-" and end + 1 < len(words) and words[end + 1] in NUMBER_WORDS):
            break
        end += 1
    return str(total + current), end - start


def _unit(words: list[str], start: int, end: int) -> str:
    """Return the unit of the number at ``words[start:end]``: a currency sign before it, or a unit word after it."""
    if start > 0 and words[start - 1] in "$€£¥":
        return words[start - 1]
    after = words[end : end + 2]
    if len(after) == 2 and after[0] == "-":
        after = after[1:]  # a 30-day trial
    if len(after) == 2 and after[0] in UNIT_MODIFIERS and after[1] in UNITS:
        return f"{after[0]} {UNITS[after[1]]}"
    return UNITS.get(after[0], "number") if after else "number"


def _beside_number(words: list[str], position: int) -> bool:
    around = words[max(0, position - 1) : position] + words[position + 1 : position + 2]
    return any(word[0].isdigit() for word in around)


def affirmed(words: list[str]) -> set[str]:
    """Return the content words that no negation shortly before them denies."""
    reach = 0
    free = set()
    for word in words:
        if is_negation(word):
            reach = _DENIAL_REACH
        elif reach:
            reach = 0 if word in ".;!?" else reach - 1
        elif is_content(word):
            free.add(word)
    return free


def _denied(words: list[str], position: int) -> str:
    """Return the first content word after the negation at `position`, or an empty string."""
    after = words[position + 1 : position + 1 + _DENIAL_REACH]
    return next((word for word in after if is_content(word) and not is_negation(word)), "")
