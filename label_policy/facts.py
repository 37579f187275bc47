"""The facts of a reply that no edit may touch lightly: numbers, amounts, dates, links, addresses and negations.

Facts are read from words by rule, not by a model: the same text gives the same facts on every machine, and a support
lead can see why an edit was called factual. Number words, negations and names of days and months are English; digits,
amounts, links and addresses are read in any language.
"""

import re

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(
    r"https?://[^\s<>]+|www\.[^\s<>]+"  # a link
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"  # an e-mail address
    r"|[$€£¥]|%"
    r"|\d+(?:[.,:/\-–]\d+)*\w*"  # 30, 1,000.50, 10:30, 2026-01-31, 3rd
    rf"|[{_CJK}]"  # scripts without spaces: a character is a word
    rf"|(?:(?![{_CJK}])\w)+(?:['’](?:(?![{_CJK}])\w)+)*"
    r"|[^\w\s]"
)
_ENUMERATOR = re.compile(r"^[ \t]*\d{1,2}[.)](?=\s)", re.MULTILINE)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL)} | {
    word: value * 10 for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}

_UNITS = {
    form: unit
    for unit, forms in {
        "$": "$ dollar dollars usd bucks",
        "€": "€ euro euros eur",
        "£": "£ pound pounds gbp",
        "¥": "¥ yen jpy",
        "%": "% percent",
        "second": "second seconds sec secs",
        "minute": "minute minutes min mins",
        "hour": "hour hours hr hrs",
        "day": "day days",
        "week": "week weeks",
        "month": "month months",
        "year": "year years",
        "gb": "gb",
        "mb": "mb",
        "am": "am",
        "pm": "pm",
    }.items()
    for form in forms.split()
}
_UNIT_MODIFIERS = frozenset(("business", "working", "calendar"))

_DATES = {day: day for day in "monday tuesday wednesday thursday friday saturday sunday".split()}
_DATES |= {day: day for day in "today tomorrow yesterday tonight".split()}
_DATES |= {month: month for month in "january february april june july august september october november december".split()}
# These are words of their own, or too short to be sure of, unless a number stands beside them.
_DATES_BY_NUMBER = {"may": "may", "march": "march", "mar": "march", "sept": "september"} | {
    month[:3]: month for month in _DATES if month not in ("today", "tomorrow", "yesterday", "tonight") and month[-3:] != "day"
}

_NEGATIONS = frozenset(
    "not no never none nothing nobody neither nor without cannot unable cant dont wont isnt arent wasnt werent doesnt "
    "didnt hasnt havent couldnt shouldnt wouldnt".split()
)
# Set phrases in which nothing is denied.
_PLEASANTRIES = frozenset(("problem", "problems", "worries", "worry", "hesitate", "doubt"))
_FUNCTION_WORDS = frozenset(
    "a an the this that these those it its i you we they he she me us them my your our their his her is are was were be "
    "been being am do does did have has had will would can could shall should may might must to of in on at by for from "
    "with as and or but so if then than there here just also very really please yet any more".split()
)
_NEGATING_PREFIX = re.compile(r"(?:un|in|im|ir|il|dis|non)(?=\w{4})")

Facts = dict[str, list[str]]
"""Facts by kind (``day``, ``$``, ``number``, ``date``, ``link``, ``email``, ``not``), each in the order of the text."""


def tokenize(text: str) -> list[str]:
    """Split `text` into words, numbers, links, addresses and single marks, as written; list numbering is left out."""
    tokens: list[str] = _TOKEN.findall(_ENUMERATOR.sub("", text))
    return tokens


def normal_word(token: str) -> str:
    """Return a token as it is compared: no case, straight apostrophes, and numbers without grouping commas."""
    if _GROUPED.fullmatch(token):
        return token.replace(",", "")
    return token.casefold().replace("’", "'")


def is_word(token: str) -> bool:
    """Return whether a token is more than punctuation."""
    return token[0].isalnum() or token[0] == "_" or token in _UNITS


def is_content(word: str) -> bool:
    """Return whether a normal word carries content, rather than grammar."""
    return word not in _FUNCTION_WORDS


def is_negation(word: str) -> bool:
    """Return whether a normal word denies something."""
    return word in _NEGATIONS or word.endswith("n't")


def negates(word: str, other: str) -> bool:
    """Return whether one of two normal words is the other with a negating prefix, as in available and unavailable."""
    longer, shorter = (word, other) if len(word) > len(other) else (other, word)
    prefix = _NEGATING_PREFIX.match(longer)
    return prefix is not None and longer[prefix.end() :] == shorter


def read_facts(words: list[str]) -> Facts:
    """Return the facts in a list of normal words and marks.

    Numbers are kept by unit, so that a clause that moves does not change a fact, but two amounts that swap places do.
    """
    facts: Facts = {}
    position = 0
    while position < len(words):
        word = words[position]
        length = 1
        if word[0].isdigit() or word in _NUMBER_WORDS:
            value, length = _number(words, position)
            unit = _unit(words, position, position + length)
            # A bare "one" is a pronoun more often than a number.
            if word != "one" or unit != "number" or length > 1:
                facts.setdefault(unit, []).append(value)
        elif word in _DATES:
            facts.setdefault("date", []).append(_DATES[word])
        elif word in _DATES_BY_NUMBER and _beside_number(words, position):
            facts.setdefault("date", []).append(_DATES_BY_NUMBER[word])
        elif is_negation(word):
            denied = _denied(words, position)
            if denied not in _PLEASANTRIES:
                facts.setdefault("not", []).append(denied)
        elif word.startswith(("http://", "https://", "www.")):
            facts.setdefault("link", []).append(word.rstrip(".,;:!?)]'\""))
        elif "@" in word and len(word) > 1:
            facts.setdefault("email", []).append(word)
        elif not word.isalpha() and any(map(str.isdigit, word)):
            facts.setdefault("number", []).append(word)  # an order number such as ab12
        position += length
    return facts


def _number(words: list[str], start: int) -> tuple[str, int]:
    """Return the number that begins at `start`, as digits, and how many words it takes."""
    if words[start][0].isdigit():
        return words[start].rstrip("-–"), 1
    total, current, end = 0, 0, start
    while end < len(words):
        word = words[end]
        if word in _NUMBER_WORDS:
            current += _NUMBER_WORDS[word]
        elif word in _SCALES and end > start:
            current *= _SCALES[word]
            if word != "hundred":
                total, current = total + current, 0
        elif not (word == "-" and end + 1 < len(words) and words[end + 1] in _NUMBER_WORDS):
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
    if len(after) == 2 and after[0] in _UNIT_MODIFIERS and after[1] in _UNITS:
        return f"{after[0]} {_UNITS[after[1]]}"
    return _UNITS.get(after[0], "number") if after else "number"


def _beside_number(words: list[str], position: int) -> bool:
    around = words[max(0, position - 1) : position] + words[position + 1 : position + 2]
    return any(word[0].isdigit() for word in around)


def _denied(words: list[str], position: int) -> str:
    """Return the first content word after the negation at `position`, or an empty string."""
    for word in words[position + 1 : position + 6]:
        if word[0].isalnum() and is_content(word) and not is_negation(word):
            return word
    return ""
