"""Measure the change of a reply's words: in spelling only, in wording, or in content."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import compress, pairwise
from operator import eq
from unicodedata import normalize

from rapidfuzz.distance import OSA, Levenshtein

from label_policy.edits.facts import IS_CONTENT, IS_WORD, READERS
from label_policy.edits.vocabulary import CONFUSED, COURTESIES, DISTINCT, GREETINGS, NEGATIONS, VALEDICTIONS

SUBSTANTIVE_SHARE = 0.35
"""An edit is substantive if it changed more than this share of the content words …"""

SUBSTANTIVE_SHARE_OF_FEW = 0.5
"""… or this one, if it changed one or two, which are a large share of any short reply …"""

SUBSTANTIVE_WORDS = 12
"""… or this number of content words, a sentence or two, in a reply of any length …"""

SUBSTANTIVE_STRETCH = 6
"""… or if it added or removed this number in one stretch without replacement: a step, a reason, an offer."""

_MAX_ALIGNED = 4_000
"""Maximum number of words per side for alignment; its memory grows with the product of both sides."""

Gap = tuple[list[str], list[str]]
"""Words removed, and words added in their place."""


def gaps(left: Sequence[str], right: Sequence[str]) -> list[Gap]:
    """Align two lists of words and return the stretches that differ."""
    if not left or not right or (len(left) == 1 and left[0] not in right) or (len(right) == 1 and right[0] not in left):
        return [(list(left), list(right))]
    if max(len(left), len(right)) > _MAX_ALIGNED:
        before, after = Counter(left), Counter(right)
        return [([*(before - after).elements()], [*(after - before).elements()])]
    # The gaps of the alignment lie between the stretches that both sides share.
    matches = Levenshtein.opcodes(left, right).as_matching_blocks()
    blocks = [(0, 0, 0), *((match.a, match.b, match.size) for match in matches)]
    return [
        (list(left[i + size : next_i]), list(right[j + size : next_j]))
        for (i, j, size), (next_i, next_j, _) in pairwise(blocks)
        if i + size < next_i or j + size < next_j
    ]


def changes(left: Sequence[str], right: Sequence[str]) -> list[Gap]:
    """Return the stretches of words that differ by more than punctuation and spelling."""
    start, end = 0, -1
    shorter = min(len(left), len(right))
    while start < shorter and left[start] == right[start]:
        start += 1
    while -end <= shorter - start and left[end] == right[end]:
        end -= 1
    # The word before is needed to detect that the first word repeats it.
    first = max(start - 1, 0)
    words, others = (
        _without_marks(left[first : len(left) + end + 1]),
        _without_marks(right[first : len(right) + end + 1]),
    )
    if words == others:
        return []
    differing = (_without_spelling(*gap) for gap in gaps(words, others))
    return [gap for gap in differing if gap[0] or gap[1]]


def _without_marks(words: Sequence[str]) -> list[str]:
    """Return the words without punctuation and without doubled words."""
    kept = [*compress(words, map(IS_WORD.__getitem__, words))]
    if any(map(eq, kept, kept[1:])):
        kept = [word for word, after in pairwise([*kept, ""]) if word != after or len(word) == 1 or not word.isalpha()]
    return kept


def _without_spelling(removed: list[str], added: list[str]) -> Gap:
    """Drop differences of spelling: word by word, or as a whole where words were split or joined."""
    if removed and added:
        if "".join(removed) == "".join(added) or frozenset((" ".join(removed), " ".join(added))) in CONFUSED:
            return [], []
        if len(removed) == len(added):
            pairs = [pair for pair in zip(removed, added, strict=True) if not is_respelled(*pair)]
            return [word for word, _ in pairs], [other for _, other in pairs]
    return removed, added


@lru_cache(maxsize=1 << 16)
def is_respelled(word: str, other: str) -> bool:
    """Return whether two words are spellings of one word, decided without a dictionary."""
    if word in NEGATIONS or other in NEGATIONS or {word, other} <= DISTINCT:
        return False
    word, other = _letters(word), _letters(other)
    if word == other or frozenset((word, other)) in CONFUSED:
        return True
    length = max(len(word), len(other))
    if sorted(word) == sorted(other):
        return length > 2 and OSA.distance(word, other, score_cutoff=1) == 1
    if length < 4 or not (word.isalpha() and other.isalpha()):
        return False
    # A typo in the first letter is rare; words that differ there are mostly different words (include, exclude).
    if word[0] != other[0]:
        return False
    allowed = 1 if length < 8 else 2
    return bool(OSA.distance(word, other, score_cutoff=allowed) <= allowed)


def _letters(word: str) -> str:
    """Return a word without accents and apostrophes, and with umlauts as two letters."""
    if not word.isascii():
        word = word.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue")
        word = "".join(letter for letter in normalize("NFD", word) if not "\u0300" <= letter <= "\u036f")
    return word.replace("'", "")


def respelled(left: list[str], right: list[str]) -> list[str]:
    """Return `left` with misspelled words replaced by those in `right`, such as days for dasy; empty if there are none.

    Only words that state facts in `right` count. Two words that both state facts are never spellings of one word, even
    if they are close: June, July.
    """
    gone, new = set(left) - set(right), set(right) - set(left)
    initials = {word[0] for word in new if READERS[word]}
    if not any(word[0] in initials and not READERS[word] for word in gone) or max(len(left), len(right)) > _MAX_ALIGNED:
        return []
    corrected = list(left)
    for code in Levenshtein.opcodes(left, right):
        if code.src_end - code.src_start == code.dest_end - code.dest_start:
            for i, j in zip(range(code.src_start, code.src_end), range(code.dest_start, code.dest_end), strict=True):
                if not READERS[left[i]] and is_respelled(left[i], right[j]):
                    corrected[i] = right[j]
    return corrected


def is_light(changed: Sequence[Gap], total: int) -> bool:
    """Return whether `changed` is small for a part of a reply with `total` content words, and so for the whole."""
    count = max(sum(content_of(gap[side]) for gap in changed) for side in (0, 1))
    return count < SUBSTANTIVE_STRETCH and count <= SUBSTANTIVE_SHARE * total


def content_of(words: Iterable[str]) -> int:
    """Count the content words among `words`."""
    return sum(map(IS_CONTENT.__getitem__, words))


def is_heavy(changed: Sequence[Gap], total: int) -> bool:
    """Return whether `changed` changes the message of a reply with `total` content words."""
    removed = Counter(word for words, _ in changed for word in words if IS_CONTENT[word])
    added = Counter(word for _, words in changed for word in words if IS_CONTENT[word])
    gone, new = removed - added, added - removed  # a word that moved is neither
    count = max(gone.total(), new.total())
    share = SUBSTANTIVE_SHARE if count > 2 else SUBSTANTIVE_SHARE_OF_FEW
    return count > share * total or count >= SUBSTANTIVE_WORDS or any(_is_stretch(*gap, gone, new) for gap in changed)


def _is_stretch(words: list[str], others: list[str], gone: Counter[str], new: Counter[str]) -> bool:
    removed, added = sum(word in gone for word in words), sum(word in new for word in others)
    return min(removed, added) <= 1 and max(removed, added) >= SUBSTANTIVE_STRETCH


# --- Courtesies


def _starting(phrases: Sequence[str]) -> str:
    return rf"(?:{'|'.join(map(re.escape, phrases))})\b"


_GREETING = re.compile(rf"{_starting(GREETINGS)}[^,.!:\n]{{0,40}}(?:[,.!:\n]|\Z)", re.IGNORECASE)
_VALEDICTION = re.compile(rf"(?:^|(?<=[.!?\n]))[ \t]*{_starting(VALEDICTIONS)}[^.!?]{{0,80}}\Z", re.IGNORECASE)
_COURTESY = re.compile(rf"(?:^|(?<=[,;.!?\n]))[ \t]*{_starting(COURTESIES)}[^,;.!?\n]*[,;.!?]?", re.IGNORECASE)


def without_courtesies(text: str) -> str:
    """Return `text` without its greeting, its sign-off, and thanks, apologies and offers of help in between."""
    text = text.strip().replace("’", "'")
    greeting = _GREETING.match(text)
    return _COURTESY.sub("", _VALEDICTION.sub("", text[greeting.end() if greeting else 0 :].rstrip()))
