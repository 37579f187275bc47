"""Texts of unknown origin as HTML: nothing in them is markup, and hidden characters show as marks.

Long texts are cut into blocks that the browser lays out only when they come into view, so that a megabyte is on the
screen as fast as a line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from markupsafe import Markup, escape

from pipelines.output.safe_text import MOST_ALIGNED, is_hidden, stretches

BLOCK: Final = 8_000
"""Characters in one block of a long text, about."""

MOST_MARKS: Final = 2_000
"""The most runs of hidden characters in a text that are drawn as marks; more of them are spelled as plain text."""

MOST_COMPARED: Final = 100_000
"""The most characters that differ; beyond, only the sent text is shown: nobody reads both side by side."""

_CONTEXT: Final = 30
"""Words on either side of a change that are shown where long stretches between are left out."""

# Writing without blanks between words is compared sign by sign.
_SIGNS: Final = "\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD: Final = re.compile(rf"[{_SIGNS}]\s*|[^\s{_SIGNS}]+\s*|\s+")
_UNUSUAL: Final = re.compile(r"[^ -~\n]+")


def text(value: str | None) -> Markup:
    """Return a short text, or a part of a long one, with hidden characters as marks."""
    plain = _plain(value)
    return _pick(plain)(plain)


def line(value: object, most: int = 80) -> Markup:
    """Return a value on one line, cut to `most` characters and isolated from the writing direction around it."""
    plain = _plain(str(value)).replace("\n", " ")
    return Markup("<bdi>{}</bdi>").format(_marked(plain if len(plain) <= most else plain[: most - 1] + "…"))


def blocks(value: str | None) -> list[Markup]:
    """Return a text of any length as blocks; a short one is one block."""
    plain = _plain(value)
    mark = _pick(plain)  # by the whole text and not by a block
    return [mark(part) for part in _split(plain)]


@dataclass(frozen=True)
class Change:
    """A stretch of the other text: kept, added, removed, or a note on what is left out between two changes."""

    kind: Literal["kept", "added", "removed", "elided"]
    text: Markup


def changes(before: str, after: str) -> list[Change] | None:
    """Return the changes from `before` to `after`, by words; None where too much differs to be read side by side."""
    old, new = (_WORD.findall(_plain(value)) for value in (before, after))
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    rest = min(len(old), len(new)) - start
    end = next((i for i in range(rest) if old[-1 - i] != new[-1 - i]), rest)
    middle = old[start : len(old) - end], new[start : len(new) - end]
    if max(map(len, middle)) > MOST_ALIGNED or sum(map(len, (*middle[0], *middle[1]))) > MOST_COMPARED:
        return None
    parts = [("kept", new[:start]), *stretches(*middle), ("kept", new[len(new) - end :] if end else [])]
    elides = max(len(old), len(new)) > 20 * _CONTEXT
    return [change for kind, words in _joined(parts) for change in _changes(kind, words, elides)]


def _joined(parts: Sequence[tuple[str, Sequence[str]]]) -> Iterator[tuple[str, list[str]]]:
    for kind, group in groupby(parts, key=lambda stretch: stretch[0]):
        words = [word for _, part in group for word in part]
        if words:
            yield kind, words


def _changes(kind: str, words: Sequence[str], elides: bool) -> Iterator[Change]:
    if kind != "kept":
        whole = "".join(words)
        changed = whole.rstrip() or whole  # the blanks behind a word are not part of what changed
        yield Change("added" if kind == "added" else "removed", text(changed))
        yield Change("kept", text(whole[len(changed) :]))
    elif not elides or len(words) <= 3 * _CONTEXT:
        yield Change("kept", text("".join(words)))
    else:
        yield Change("kept", text("".join(words[:_CONTEXT])))
        yield Change("elided", escape(f"{len(words) - 2 * _CONTEXT:,} words as drafted"))
        yield Change("kept", text("".join(words[-_CONTEXT:])))


def _plain(value: str | None) -> str:
    return (value or "").replace("\r\n", "\n").replace("\t", "    ")


def _split(plain: str) -> Iterator[str]:
    """Yield blocks that end at the end of a line where one is near, or else at the end of a word."""
    start = 0
    while len(plain) - start > BLOCK:
        end = plain.rfind("\n", start + BLOCK // 2, start + BLOCK) + 1
        end = end or plain.rfind(" ", start + BLOCK // 2, start + BLOCK) + 1 or start + BLOCK
        yield plain[start:end]
        start = end
    yield plain[start:]


def _pick(plain: str) -> Callable[[str], Markup]:
    """Return the function that draws a text: marks, or plain spelling where it has many hidden characters."""
    runs = 0
    for unusual in _UNUSUAL.finditer(plain):
        runs += sum(hidden for hidden, _ in groupby(unusual[0], key=is_hidden))
        if runs > MOST_MARKS:
            return _spelled
    return _marked


def _marked(plain: str) -> Markup:
    """Return the text with each run of hidden characters as a mark: their numbers, and their names as its title."""
    parts, seen = [], 0
    for unusual in _UNUSUAL.finditer(plain):
        parts.append(escape(plain[seen : unusual.start()]))
        seen = unusual.end()
        for hidden, group in groupby(unusual[0], key=is_hidden):
            run = "".join(group)
            parts.append(_mark(run) if hidden else escape(run))
    parts.append(escape(plain[seen:]))
    return Markup("").join(parts)


_MARK = Markup('<span class="mark" title="{}">⟨{}⟩</span>')
_MOST_NAMED: Final = 8


def _mark(run: str) -> Markup:
    counted = [(character, sum(1 for _ in group)) for character, group in groupby(run)]
    named = [f"U+{ord(character):04X}" + (f" ×{count:,}" if count > 1 else "") for character, count in counted]
    more = f" and {len(named) - _MOST_NAMED:,} more" if len(named) > _MOST_NAMED else ""
    title = ", ".join(unicodedata.name(character, "a character without a name").lower() for character, _ in counted[:3])
    return _MARK.format(title, " ".join(named[:_MOST_NAMED]) + more)


def _spelled(plain: str) -> Markup:
    return escape(plain.translate(_NUMBERS))


class _Numbers(dict[int, str]):
    """A table for str.translate: how a character is spelled, computed once."""

    def __missing__(self, code: int) -> str:
        spelled = f"⟨U+{code:04X}⟩" if is_hidden(chr(code)) else chr(code)
        return self.setdefault(code, spelled)


_NUMBERS: Final = _Numbers()
