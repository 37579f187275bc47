"""How much an agent changed a draft, and whether what changed matters.

`edit_similarity` says how much by characters; `classify_edit` says what kind. A small edit can be the gravest ("within
30 days" to "within 14 days") and a large one harmless (twenty fixed typos), so the kind comes from a diff of words and
from the facts on both sides, never from the distance alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz.distance import OSA, Levenshtein
from rapidfuzz.process import cpdist

from label_policy.facts import affirmed, is_content, is_negation, is_word, negates, read_facts, tokenize

_SUBSTANTIVE_SHARE = 0.35
"""An edit is substantive if it changed more than this share of the content words …"""

_SUBSTANTIVE_SHARE_OF_FEW = 0.5
"""… or this one, if it changed one or two."""

_SUBSTANTIVE_WORDS = 12
"""So many changed content words are a sentence or two, and substantive however long the rest is."""

_MAX_ALIGNED = 4_000
"""The most words a side that are aligned; the alignment's memory grows with the product of both sides."""

_MAX_CHARACTERS = 50_000
"""Texts longer than this are compared as bags of words: the distance's time grows with the product of both lengths."""

Texts: TypeAlias = Sequence[str | None] | pa.Array | pa.ChunkedArray


class EditKind(StrEnum):
    """What an edit changed, from least to most severe."""

    NONE = "none"
    COSMETIC = "cosmetic"
    WORDING = "wording"
    SUBSTANTIVE = "substantive"
    FACTUAL = "factual"


def edit_similarity(draft: str, final: str) -> float:
    """Return 1 minus the normalized Levenshtein distance of two texts: 1.0 for equal ones, 0.0 for nothing in common.

    By characters. Where either text is longer than 50,000 characters, by the bag distance of their words (Bartolini et
    al. 2002), which never exceeds the edit distance.
    """
    if draft == final:
        return 1.0
    if max(len(draft), len(final)) > _MAX_CHARACTERS:
        before, after = Counter(draft.split()), Counter(final.split())
        longer = max(before.total(), after.total())
        return 1.0 - max((before - after).total(), (after - before).total()) / longer if longer else 0.0
    return float(Levenshtein.normalized_similarity(draft, final))


def classify_edit(draft: str, final: str, terms: Iterable[str] = ()) -> EditKind:
    """Return what kind of edit turned `draft` into `final`.

    Args:
        draft: the text as suggested.
        final: the text as sent.
        terms: words or phrases that count as facts, such as the names of plans; case does not matter.

    Returns:
        ``none``: the texts are equal. ``factual``: a number, amount, date, duration, percentage, link, e-mail
        address, negation or term came, went or changed. ``cosmetic``: nothing but case, punctuation, white space and
        spelling. ``substantive``: more than about a third of the content words changed, or a dozen, or nothing is left.
        ``wording``: anything else.

    """
    if draft == final:
        return EditKind.NONE
    return _classify(draft, final, _term_pattern(terms))


def classify_edits(drafts: Texts, finals: Texts, terms: Iterable[str] = ()) -> pa.Array:
    """Return `classify_edit` for each pair, as an Arrow array of text; null where either side is null.

    Raises:
        pyarrow.ArrowInvalid: the two columns differ in length.

    """
    left, right = _column(drafts), _column(finals)
    pattern = _term_pattern(terms)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    kinds: list[str | None] = [EditKind.NONE if same else None for same in pc.equal(left, right).to_pylist()]
    # Most drafts are sent as they are, so only the others are turned into Python texts.
    positions = pc.indices_nonzero(unequal).to_pylist()
    pairs = zip(pc.filter(left, unequal).to_pylist(), pc.filter(right, unequal).to_pylist(), strict=True)
    for position, (draft, final) in zip(positions, pairs, strict=True):
        kinds[position] = _classify(draft, final, pattern)
    return pa.array(kinds, pa.string())


def edit_similarities(drafts: Texts, finals: Texts) -> pa.Array:
    """Return `edit_similarity` for each pair, as an Arrow array of doubles; null where either side is null.

    Raises:
        pyarrow.ArrowInvalid: the two columns differ in length.

    """
    left, right = _column(drafts), _column(finals)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    changed = [pc.filter(side, unequal).to_pylist() for side in (left, right)]
    long = [max(len(draft), len(final)) > _MAX_CHARACTERS for draft, final in zip(*changed, strict=True)]
    short = [["" if is_long else text for text, is_long in zip(side, long, strict=True)] for side in changed]
    scores = cpdist(*short, scorer=Levenshtein.normalized_similarity, dtype=np.float64, workers=-1).tolist()
    for position, is_long in enumerate(long):
        if is_long:
            scores[position] = edit_similarity(changed[0][position], changed[1][position])
    same = pc.if_else(pc.equal(left, right), pa.scalar(1.0), pa.scalar(None, pa.float64()))
    return pc.replace_with_mask(same, unequal, pa.array(scores, pa.float64()))


def _column(texts: Texts) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    return texts.cast(pa.large_string()) if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())


def _term_pattern(terms: Iterable[str]) -> re.Pattern[str] | None:
    # Longest first, so that "premium plan" is found before "premium".
    words = sorted({term.casefold() for term in terms if term.strip()}, key=lambda term: (-len(term), term))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)") if words else None


def _classify(draft: str, final: str, terms: re.Pattern[str] | None) -> EditKind:
    if not final.strip():
        return EditKind.SUBSTANTIVE if draft.strip() else EditKind.COSMETIC
    if terms is not None and terms.findall(draft.casefold()) != terms.findall(final.casefold()):
        return EditKind.FACTUAL
    before, after = tokenize(draft), tokenize(final)
    start, end = _common_ends(before, after)
    if _facts_differ(before, after, start, end):
        return EditKind.FACTUAL
    return _by_words(before, after, start, end)


def _common_ends(before: list[str], after: list[str]) -> tuple[int, int]:
    """Return how many words are equal at the start and, beyond those, at the end."""
    limit = min(len(before), len(after))
    start = 0
    while start < limit and before[start] == after[start]:
        start += 1
    end = 0
    while end < limit - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return start, end


def _facts_differ(before: list[str], after: list[str], start: int, end: int) -> bool:
    # Facts before and after the changed stretch are the same on both sides. A fact reaches over a few words (a unit,
    # the word that is denied), so some context is read with it.
    first, last = max(0, start - 4), max(0, end - 4)
    left, right = before[first : len(before) - last], after[first : len(after) - last]
    facts, other = read_facts(left), read_facts(right)
    denied, other_denied = facts.pop("not", []), other.pop("not", [])
    if facts != other or len(denied) != len(other_denied):
        return True
    # As many negations as before, but what was denied is now affirmed, or the other way round.
    gone, new = set(denied) - set(other_denied), set(other_denied) - set(denied)
    return bool(gone & affirmed(right) or new & affirmed(left))


def _by_words(before: list[str], after: list[str], start: int, end: int) -> EditKind:
    """Tell cosmetic, wording and substantive edits apart by what changed among the words."""
    left = [word for word in before[start : len(before) - end] if is_word(word)]
    right = [word for word in after[start : len(after) - end] if is_word(word)]
    if left == right:
        return EditKind.COSMETIC
    removed: Counter[str] = Counter()
    added: Counter[str] = Counter()
    for gone, new in _changes(left, right):
        gone, new = _without_typos(gone, new)
        if len(gone) == len(new) and any(map(negates, gone, new)):
            return EditKind.FACTUAL
        removed.update(gone)
        added.update(new)
    if not removed and not added:
        return EditKind.COSMETIC
    # A word that moved is neither new nor gone.
    changed = max(sum(map(is_content, (one - other).elements())) for one, other in ((removed, added), (added, removed)))
    total = max(sum(map(is_content, before)), sum(map(is_content, after)))
    # One or two words are a large share of any short reply.
    share = _SUBSTANTIVE_SHARE if changed > 2 else _SUBSTANTIVE_SHARE_OF_FEW
    heavy = changed > share * total or changed >= _SUBSTANTIVE_WORDS
    return EditKind.SUBSTANTIVE if heavy else EditKind.WORDING


def _changes(left: list[str], right: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return the stretches that differ, each as (words removed, words added)."""
    if max(len(left), len(right)) > _MAX_ALIGNED:
        before, after = Counter(left), Counter(right)
        return [([*(before - after).elements()], [*(after - before).elements()])]
    # The alignment's gaps are what lies between the stretches that both sides share.
    matches = Levenshtein.opcodes(left, right).as_matching_blocks()
    blocks = [(0, 0, 0), *((match.a, match.b, match.size) for match in matches)]
    gaps = []
    for (i, j, size), (next_i, next_j, _) in pairwise(blocks):
        removed, added = left[i + size : next_i], right[j + size : next_j]
        if removed or added:
            gaps.append((removed, added))
    return gaps


def _without_typos(removed: list[str], added: list[str]) -> tuple[list[str], list[str]]:
    """Drop what differs by spelling only: word by word, or as a whole where words were split or joined."""
    if removed and added and "".join(removed) == "".join(added):
        return [], []
    if len(removed) != len(added):
        return removed, added
    changed = [(word, other) for word, other in zip(removed, added, strict=True) if not _is_typo(word, other)]
    return [word for word, _ in changed], [other for _, other in changed]


def _is_typo(word: str, other: str) -> bool:
    """Return whether two words are one word spelled in two ways, judged without a dictionary."""
    length = max(len(word), len(other))
    if is_negation(word) or is_negation(other):
        return is_negation(word) and is_negation(other)
    if sorted(word) == sorted(other):
        return length > 2 and OSA.distance(word, other, score_cutoff=1) == 1
    # A slip in the first letter is rare, and two words that differ there are mostly two words (include, exclude).
    if length < 4 or word[0] != other[0] or not (word.isalpha() and other.isalpha()):
        return word.replace("'", "") == other.replace("'", "")
    allowed = 1 if length < 8 else 2
    return bool(OSA.distance(word, other, score_cutoff=allowed) <= allowed)
