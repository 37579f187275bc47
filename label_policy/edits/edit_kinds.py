"""Measure and classify an agent's edit of a draft.

`edit_similarity` measures the change in characters; `classify_edit` returns its kind. A small edit can be the gravest
("within 30 days" to "within 14 days") and a large one harmless (twenty fixed typos). So the kind comes from a diff of
words and from the facts on both sides, never from the distance alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from label_policy.edits.claims import same_but_moved, same_denials, same_facts
from label_policy.edits.facts import REACH, StatedFacts, read
from label_policy.edits.tokens import Remembered, chunks_around, enumerators, plain, without_enumeration, words_of
from label_policy.edits.words import changes, content_of, is_heavy, is_light, respelled, without_courtesies
from label_policy.schema.blank_text import is_blank
from label_policy.schema.columns import EditKind

_MAX_CHARACTERS = 50_000
"""Texts longer than this are compared as bags of words: the distance's time grows with the product of both lengths."""

Texts: TypeAlias = Sequence[str | None] | pa.Array | pa.ChunkedArray


def edit_similarity(draft: str, final: str) -> float:
    """Return 1 minus the normalized Levenshtein distance of two texts: 1.0 for equal ones, 0.0 for nothing in common.

    The distance counts characters. Where either text is longer than 50,000 characters, it is the bag distance of words
    (Bartolini et al. 2002), which never exceeds the edit distance.
    """
    if draft == final:
        return 1.0
    if max(len(draft), len(final)) > _MAX_CHARACTERS:
        before, after = Counter(draft.split()), Counter(final.split())
        longer = max(before.total(), after.total())
        return 1.0 - max((before - after).total(), (after - before).total()) / longer if longer else 0.0
    return float(Levenshtein.normalized_similarity(draft, final))


def classify_edit(draft: str, final: str, terms: Iterable[str] = ()) -> EditKind:
    """Return the kind of the edit from `draft` to `final`.

    Args:
        draft: the suggested text.
        final: the sent text.
        terms: words or phrases that count as facts, such as the names of plans; case does not matter.

    Returns:
        The gravest kind that applies. ``none``: the texts are equal. ``factual``: a number, amount, date, time,
        duration, percentage, limit, link, e-mail address, denial or term was added, removed or changed.
        ``substantive``: more than about a third of the content words changed, or a dozen, or six in one stretch were
        added or removed, or nothing is left. ``wording``: other words, courtesies included. ``cosmetic``: the same
        words and facts, in another case, punctuation, spacing, spelling or notation. See docs/edit-severity.md.

    """
    if draft == final:
        return EditKind.NONE
    return _kind(draft, final, _read_terms(terms))


def classify_edits(drafts: Texts, finals: Texts, terms: Iterable[str] = ()) -> pa.Array:
    """Return `classify_edit` for each pair, as an Arrow array of text; null where either side is null.

    Raises:
        pyarrow.ArrowInvalid: the two columns differ in length.

    """
    left, right = _column(drafts), _column(finals)
    read_terms = _read_terms(terms)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    kinds: list[str | None] = [EditKind.NONE if same else None for same in pc.equal(left, right).to_pylist()]
    # Most drafts are sent unchanged, so only the others are converted to Python texts.
    positions = pc.indices_nonzero(unequal).to_pylist()
    pairs = zip(pc.filter(left, unequal).to_pylist(), pc.filter(right, unequal).to_pylist(), strict=True)
    for position, (draft, final) in zip(positions, pairs, strict=True):
        kinds[position] = _kind(draft, final, read_terms)
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


# --- Terms


def terms_changed(drafts: Texts, finals: Texts, terms: Iterable[str]) -> pa.BooleanArray:
    """Return whether the occurrences of `terms` differ between each draft and final.

    Null where either side is null, and false where the final is blank, because then the whole draft is gone.
    `classify_edit` with terms gives its result without them, or ``factual`` where this is true. So a changed list can
    be applied to stored kinds without classifying again.

    Raises:
        pyarrow.ArrowInvalid: the two columns differ in length.

    """
    left, right = _column(drafts), _column(finals)
    unequal = pc.fill_null(pc.not_equal(left, right), False)
    read_terms = _read_terms(terms)
    pairs = zip(pc.filter(left, unequal).to_pylist(), pc.filter(right, unequal).to_pylist(), strict=True)
    differ = [read_terms is not None and read_terms.changed(draft, final) for draft, final in pairs]
    same = pc.if_else(pc.equal(left, right), pa.scalar(False), pa.scalar(None, pa.bool_()))
    return pc.replace_with_mask(same, unequal, pa.array(differ, pa.bool_()))


@dataclass(frozen=True)
class _Terms:
    pattern: re.Pattern[str]
    longest: int
    """Words of the longest term."""

    def changed(self, draft: str, final: str) -> bool:
        if is_blank(final):
            return False
        # Terms before and after the changed stretch are the same on both sides.
        chunks = chunks_around(draft, final, self.longest)
        before, after = (plain(" ".join(side)).casefold() for side in chunks)
        return self.pattern.findall(before) != self.pattern.findall(after)


def _read_terms(terms: Iterable[str]) -> _Terms | None:
    normalized = {" ".join(plain(term).casefold().split()) for term in terms} - {""}
    if not normalized:
        return None
    # Longest first, so that "premium plan" is found before "premium".
    alternatives = "|".join(map(re.escape, sorted(normalized, key=lambda term: (-len(term), term))))
    return _Terms(re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)"), max(len(term.split()) for term in normalized))


# --- One edit


def _kind(draft: str, final: str, terms: _Terms | None) -> EditKind:
    """Classify an edit between two texts that differ."""
    if terms is not None and terms.changed(draft, final):
        return EditKind.FACTUAL
    return _classify(draft, final)


def _classify(draft: str, final: str) -> EditKind:
    if is_blank(final):
        return EditKind.COSMETIC if is_blank(draft) else EditKind.SUBSTANTIVE
    # Facts before and after the changed stretch are the same on both sides. A fact spans a few words (a unit, the
    # denied word), so some context is read with it.
    left, right = chunks_around(draft, final, REACH)
    if enumerators(left) != enumerators(right):
        draft, final = without_enumeration(draft), without_enumeration(final)
        left, right = chunks_around(draft, final, REACH)
    if left == right:
        return EditKind.COSMETIC
    before, after = _read_both(left, right)
    if not (same_denials(before, after) and (same_facts(before, after) or _moved(before, after, draft, final))):
        return EditKind.FACTUAL
    changed = changes(before.words, after.words)
    if not changed:
        return EditKind.COSMETIC
    content, other = content_of(before.words), content_of(after.words)
    if is_light(changed, max(content, other)):
        return EditKind.WORDING
    total = sum(map(_CONTENT_OF.__getitem__, draft.split())) + max(0, other - content)
    return EditKind.SUBSTANTIVE if is_heavy(changed, total) and _is_heavy(draft, final) else EditKind.WORDING


def _read_both(left: list[str], right: list[str]) -> tuple[StatedFacts, StatedFacts]:
    """Read the facts of two stretches of chunks; a misspelled word counts as its correction."""
    words, others = words_of(left), words_of(right)
    before, after = read(words), read(others)
    if before.facts != after.facts:
        if (correction := respelled(words, others)) and same_facts(corrected := read(correction), after):
            return corrected, after
        if (correction := respelled(others, words)) and same_facts(before, corrected := read(correction)):
            return before, corrected
    return before, after


_CONTENT_OF = Remembered(lambda chunk: content_of(words_of([chunk])))


_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++(?=\s|\Z)|\n")


def _moved(before: StatedFacts, after: StatedFacts, draft: str, final: str) -> bool:
    """Return whether facts only moved together with their whole sentences."""
    if not same_but_moved(before, after):
        return False
    draft_statements, final_statements = (
        Counter(filter(None, map(_statement, _SENTENCE_END.split(text)))) for text in (draft, final)
    )
    return draft_statements == final_statements


def _statement(sentence: str) -> tuple[str, ...]:
    stated = read(words_of(sentence.split()))
    return tuple(stated.words) if stated.facts else ()


def _is_heavy(draft: str, final: str) -> bool:
    """Return whether an edit is still heavy without greetings, sign-offs and other courtesies."""
    left, right = without_courtesies(draft), without_courtesies(final)
    if (left, right) == (draft.strip(), final.strip()):
        return True
    before, after = _read_both(left.split(), right.split())
    return is_heavy(changes(before.words, after.words), max(content_of(before.words), content_of(after.words)))
