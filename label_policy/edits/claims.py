"""Compare the facts and denials of two stretches of a reply."""

from collections.abc import Iterable, Sequence

from label_policy.edits.facts import IS_CONTENT, REACH, Fact, StatedFacts
from label_policy.edits.tokens import Remembered
from label_policy.edits.vocabulary import LENGTHS, NEGATIONS, OPPOSITES

_SHORTEST_STEM = 4  # "interest" is not the denial of "terest", nor "under" of "der"


def same_facts(left: StatedFacts, right: StatedFacts) -> bool:
    """Return whether two stretches state the same facts, in the same order where they are of one kind."""
    if left.facts != right.facts and not _same_by_kind(left.facts, right.facts):
        return False
    # The same number may be an upper limit on one side and a lower limit on the other.
    return all(left.bounds[fact] & right.bounds[fact] for fact in left.bounds.keys() & right.bounds.keys())


def same_but_moved(left: StatedFacts, right: StatedFacts) -> bool:
    """Return whether two stretches state the same facts, in any order."""
    return sorted(left.facts) == sorted(right.facts)


def _same_by_kind(facts: list[Fact], others: list[Fact]) -> bool:
    if _by_kind(facts) == _by_kind(others):
        return True
    # The same facts in another order: two amounts were swapped. Otherwise 48 hours may have become 2 days.
    return sorted(facts) != sorted(others) and _by_kind(map(_converted, facts)) == _by_kind(map(_converted, others))


def _by_kind(facts: Iterable[Fact]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for kind, value in facts:
        kinds.setdefault(kind, []).append(value)
    return kinds


def _converted(fact: Fact) -> Fact:
    """Return a length of time in seconds or months, and any other fact unchanged."""
    kind, value = fact
    if kind not in LENGTHS or not value.replace(".", "", 1).isdecimal():
        return fact
    base, factor = LENGTHS[kind]
    return base, str(float(value) * factor)


def same_denials(left: StatedFacts, right: StatedFacts) -> bool:
    """Return whether two stretches deny the same: equally often, and nothing that the other affirms."""
    if left.words == right.words:
        return True
    gone, new = set(left.words) - set(right.words), set(right.words) - set(left.words)
    denied = [*left.denied, *_opposites(gone, new)]
    other = [*right.denied, *_opposites(new, gone)]
    if len(denied) != len(other):
        return False
    if denied == other:
        return True
    gone, new = set(denied) - set(other), set(other) - set(denied)
    return gone.isdisjoint(_affirmed(right.words)) and new.isdisjoint(_affirmed(left.words))


def _opposites(words: set[str], others: set[str]) -> list[str]:
    """Return the words of `others` that one of `words` denies by its prefix."""
    return [other for word in words for other in _AFFIRMED_BY[word] if other in others]


def _without_prefix(word: str) -> tuple[str, ...]:
    return tuple(
        affirming + word[len(prefix) :]
        for prefix, prefixes in OPPOSITES.items()
        if word.startswith(prefix) and word not in NEGATIONS and len(word) >= len(prefix) + _SHORTEST_STEM
        for affirming in prefixes
    )


_AFFIRMED_BY = Remembered(_without_prefix)


def _affirmed(words: Sequence[str]) -> set[str]:
    """Return the content words without a negation shortly before them."""
    reach = 0
    free = set()
    for word in words:
        if word in NEGATIONS:
            reach = REACH
        elif reach:
            reach = 0 if word in ".;!?" else reach - 1
        elif IS_CONTENT[word]:
            free.add(word)
    return free
