"""Split texts into the words that edits are compared by.

A text is split at white space into chunks, and each chunk into words. A desk's replies share a small vocabulary, so the
words of a chunk are cached: a dictionary look-up costs a tenth of splitting it again.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from typing import TypeVar

from rapidfuzz.distance import Postfix, Prefix

from label_policy.edits.vocabulary import BEFORE_CONTRACTED_IS, CONTRACTED_ENDINGS, CONTRACTIONS, MONTH_NUMBERS, UNITS

LINK, EMAIL = "link:", "email:"
"""Prefixes of words that are addresses; no other word has a colon."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_LETTER = rf"(?:(?![{_CJK}])\w)"
_PATH = r"[^\s<>()\[\]\"“”]+"
_LABELS = r"(?:[a-z\d-]{1,63}\.){1,9}"  # bounded as in the standards, so that no text takes long to match
_TOKEN = re.compile(
    rf"(?P<link>(?:https?://|www\.){_PATH}"
    rf"|{_LABELS}[a-z]{{2,63}}/{_PATH}"
    rf"|{_LABELS}(?:com|org|net|io|dev|app|edu|gov|co\.uk)\b(?!@))"
    r"|(?:mailto:)?(?P<email>[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+)"
    r"|(?P<clock>\b[ap])\.m\b\.?"
    rf"|(?P<number>\d+(?:[.,:/]\d+)*)(?P<suffix>{_LETTER}*)"  # 30, 1,000.50, 10:30, 31/01/2026, 3rd, 25MB
    rf"|(?P<word>[a-z]{{1,63}}\d+(?:\.\d+)+|[{_CJK}]|{_LETTER}+(?:'{_LETTER}+)*)"  # v2.1; scripts without spaces; words
    r"|(?P<mark>[^\w\s])",
    re.IGNORECASE,
)
_ISO_DATE = re.compile(r"(?<!\d)(\d{4})-(\d\d)-(\d\d)(?!\d)")
_HOST = re.compile(r"^(?:https?://)?[^/?#]*", re.IGNORECASE)

# Zero-width and direction marks, soft hyphens, variation selectors: all invisible.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_QUOTES_AND_DASHES = str.maketrans({**dict.fromkeys("’‘ʼ´", "'"), **dict.fromkeys("‐‑‒–—−", "-")})
_ENUMERATOR = re.compile(r"^[ \t]*(\d{1,2}|[a-z])[.)][ \t]+(?=\S)", re.MULTILINE | re.IGNORECASE)
_MAYBE_ENUMERATOR = re.compile(r"(?:\d{1,2}|[a-z])[.)]", re.IGNORECASE)

_REMEMBERED = 1 << 17
_LONGEST_REMEMBERED = 64

Value = TypeVar("Value")


class Remembered(dict[str, Value]):
    """A cache of `function` for short texts; unlike with `lru_cache`, `map` looks values up without leaving C."""

    def __init__(self, function: Callable[[str], Value]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, text: str) -> Value:
        value = self.function(text)
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[text] = value
        return value


def plain(text: str) -> str:
    """Return `text` normalized: one code for each character, quote and dash, without invisible characters."""
    if text.isascii():
        return text
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_QUOTES_AND_DASHES)


def without_enumeration(text: str) -> str:
    """Return `text` without list numbers or letters at its line starts: ``1.``, ``2.``, ``3.`` or ``a)``, ``b)``.

    A single number is a list number only at the start of the text; on any other line it may end a sentence.
    """
    labels = [*_ENUMERATOR.finditer(text)]
    steps = [int(label[1]) if label[1].isdigit() else ord(label[1].lower()) - ord("a") + 1 for label in labels]
    counting = all(step in (1, before + 1) for before, step in pairwise(steps))
    single = len(labels) == 1 and text[: labels[0].start()].strip()
    return text if single or not counting else _ENUMERATOR.sub("", text)


def chunks_around(draft: str, final: str, reach: int) -> tuple[list[str], list[str]]:
    """Return the chunks of two texts from the first to the last difference, with `reach` equal ones on either side."""
    start = Prefix.similarity(draft, final)
    end = Postfix.similarity(draft[start:], final[start:])
    # The first and the last of these may be parts of a chunk; text before and after them is left out.
    before = draft[:start].rsplit(None, reach + 1)
    after = draft[len(draft) - end :].split(None, reach + 1)
    skipped = len(before[0]) if len(before) > reach + 1 else 0
    left_over = len(after[-1]) if len(after) > reach + 1 else 0
    return draft[skipped : len(draft) - left_over].split(), final[skipped : len(final) - left_over].split()


def words_of(chunks: Iterable[str]) -> list[str]:
    """Split chunks (texts without white space) into words, numbers, addresses and single marks.

    Each has its form for comparison: without case (except in the path of a link), contractions written out, straight
    apostrophes and dashes, a unit separate from its number, a date in ISO form as day, month and year.
    """
    return [*chain.from_iterable(map(_WORDS.__getitem__, chunks))]


def _read(chunk: str) -> tuple[str, ...]:
    chunk = _ISO_DATE.sub(_spelled_out, plain(chunk))
    return tuple(word for token in _TOKEN.finditer(chunk) for word in _compared(token))


_WORDS = Remembered(_read)


def enumerators(chunks: Iterable[str]) -> list[str]:
    """Return the chunks that look like list numbers."""
    return [chunk for chunk in chunks if len(chunk) <= 3 and chunk[-1] in ".)" and _MAYBE_ENUMERATOR.fullmatch(chunk)]


def _spelled_out(date: re.Match[str]) -> str:
    year, month, day = date.groups()
    return f"{int(day)} {MONTH_NUMBERS[month]} {year}" if month in MONTH_NUMBERS else date[0]


def _compared(token: re.Match[str]) -> tuple[str, ...]:
    """Return the words of one token of the text."""
    if token["link"]:
        return (LINK + _without_case_of_host(token["link"].rstrip(".,;:!?*_'").rstrip("/")),)
    word = token[0].casefold()
    if token["email"]:
        return (EMAIL + token["email"].casefold(),)
    if token["clock"]:
        return (f"{word[0]}m",)
    if token["number"] and (unit := token["suffix"].casefold()) in UNITS:
        return token["number"], unit
    if token["word"]:
        return CONTRACTIONS.get(word) or _without_contraction(word)
    return (word,)


def _without_case_of_host(link: str) -> str:
    return _HOST.sub(lambda host: host[0].lower(), link)


def _without_contraction(word: str) -> tuple[str, ...]:
    stem, apostrophe, ending = word.rpartition("'")
    if verb := CONTRACTED_ENDINGS.get(apostrophe + ending):
        return stem, verb
    return (stem, "is") if apostrophe and ending == "s" and stem in BEFORE_CONTRACTED_IS else (word,)
