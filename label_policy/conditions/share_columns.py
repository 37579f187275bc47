"""Find shares in a condition, columns between 0 and 1, that are compared with numbers off that scale."""

from collections.abc import Iterable

from label_policy.conditions.grammar import Canonical

_SHARES = ("survey_score", "edit_similarity")
"""Columns between 0 and 1."""
_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from", "between", "in")


def limits_off_scale(meaning: Canonical) -> Iterable[tuple[str, float]]:
    """Yield each share column that is compared with a number outside of 0 to 1, and the number."""
    if not isinstance(meaning, list):
        return
    parts = [part for part in meaning if isinstance(part, list)]
    if meaning and meaning[0] in _COMPARISONS:
        # The values of an IN are a list of their own.
        sides = [side for part in parts for side in ([part] if part and isinstance(part[0], str) else part)]
        columns = [str(side[1]) for side in sides if isinstance(side, list) and side[0] == "column"]
        numbers = [number for number in map(_number, sides) if number is not None and not 0 <= number <= 1]
        yield from ((column, number) for column in columns if column in _SHARES for number in numbers)
    for part in parts:
        yield from limits_off_scale(part)


def _number(meaning: Canonical) -> float | None:
    """Return the value of a number literal, with its sign."""
    match meaning:
        case ["number", float(number)]:
            return number
        case ["neg", ["number", float(number)]]:
            return -number
    return None
