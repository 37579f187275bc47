"""Texts of unknown origin, made fit to be read on a terminal."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Literal

from rapidfuzz.distance import Indel
from rich.console import Console, RenderableType
from rich.text import Text

_CONTEXT = 12
"""Words that are kept on either side of a change where the words between are left out."""

MOST_ALIGNED = 4_000
"""The most words per side that are aligned: time grows with the product of both sides, and nobody reads so many."""

# Characters that are drawn as nothing, though Unicode does not class them as control or format characters.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(code) for code in range(0xE0100, 0xE01F0)}
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str, *, lines: bool = False) -> str:
    """Return the text with its hidden characters spelled out: see `is_hidden`.

    With `lines`, lines stay lines; without, their ends are blanks. Tabs are blanks.
    """
    text = text.replace("\r\n", "\n")
    text = text.replace("\t", "    ") if lines else text.replace("\n", " ").replace("\t", " ")
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    return f"<U+{ord(character):04X}>" if is_hidden(character) else character


def is_hidden(character: str) -> bool:
    """Return whether a character moves the cursor, turns the writing direction or is invisible; a line end does not."""
    return character != "\n" and (unicodedata.category(character) in _UNSEEN or character in _BLANK)


def shorten(text: str, most: int | None) -> str:
    """Return at most about `most` characters of the text (None: all), and how many were left out."""
    if most is None or len(text) <= most + 40:
        return text
    return f"{text[:most].rstrip()} … ({len(text) - most:,} more characters; --full shows them)"


def stretches(
    before: Sequence[str], after: Sequence[str]
) -> Iterator[tuple[Literal["kept", "removed", "added"], Sequence[str]]]:
    """Yield stretches of words that are kept (as in `after`), removed or added.

    Between two kept stretches come the removed words, and then the added ones. The blanks at a word's end are not
    compared. Texts of more than `MOST_ALIGNED` words are removed and added whole.
    """
    if max(len(before), len(after)) > MOST_ALIGNED:
        yield "removed", before
        yield "added", after
        return
    opcodes = Indel.opcodes([word.rstrip() for word in before], [word.rstrip() for word in after])
    for kept, group in groupby(opcodes, key=lambda change: change.tag == "equal"):
        changes = [*group]
        old = [word for change in changes for word in before[change.src_start : change.src_end]]
        new = [word for change in changes for word in after[change.dest_start : change.dest_end]]
        if kept:
            yield "kept", new
            continue
        if old:
            yield "removed", old
        if new:
            yield "added", new


def word_diff(old: str, new: str, *, full: bool) -> Text:
    """Return the changes from `old` to `new`: removed words as ``[-word-]``, added ones as ``{+word+}``, in colour too.

    Blanks are not compared. Without `full`, long stretches between changes are cut.
    """
    # Each word with the blanks after it, the last one with a blank too, so that no two run into one.
    before, after = (re.findall(r"\S+\s+", text + " ") for text in (old, new))
    result = Text()
    for kind, words in stretches(before, after):
        if kind == "kept":
            result.append("".join(_elided(words, full)))
            continue
        opening, closing, style = _CHANGES[kind]
        text = visible("".join(words), lines=True)
        body = text.rstrip()
        if body:
            result.append(opening + body + closing, style)
            result.append(text[len(body) :])
    result.rstrip()
    return result


_CHANGES = {"removed": ("[-", "-]", "red strike"), "added": ("{+", "+}", "green")}


def _elided(words: Sequence[str], full: bool) -> Iterator[str]:
    if full or len(words) <= 3 * _CONTEXT:
        yield from (visible(word, lines=True) for word in words)
        return
    yield from (visible(word, lines=True) for word in words[:_CONTEXT])
    yield f"… ({len(words) - 2 * _CONTEXT:,} words as drafted) "
    yield from (visible(word, lines=True) for word in words[-_CONTEXT:])


def print_trimmed(renderable: RenderableType, console: Console) -> None:
    """Print without the blanks that pad lines, so that copied text has none."""
    for line in console.render_lines(renderable, pad=False):
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()
        console.print(text, soft_wrap=True)


def factual_by(terms: Sequence[str], without: str) -> str:
    """Return why a policy's terms make an edit factual; `without` is its kind without them."""
    if not terms:
        return f"factual by the order of the terms ({without} without)"
    named = ", ".join(repr(visible(term)) for term in terms)
    return f"factual by the term{'' if len(terms) == 1 else 's'} {named} ({without} without)"


_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(length: timedelta) -> str:
    """Return a length of time in its two largest units: ``2 min``, ``3 h 33 min``, ``5 d``."""
    seconds = round(abs(length.total_seconds()))
    for position, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller, small = _UNITS[min(position + 1, len(_UNITS) - 1)]
            more = rest // small
            return f"{whole:,} {unit}" + (f" {more} {smaller}" if more else "")
    return "0 s"


def print_prose(text: str, console: Console, *, indent: int = 0, style: str = "") -> None:
    """Print a text in lines that break between words but not in a command, so that it can be copied."""
    joined = _COMMAND.sub(lambda command: command[0].replace(" ", "\0"), text)
    blanks = " " * indent
    for line in textwrap.wrap(
        joined, console.width, initial_indent=blanks, subsequent_indent=blanks, break_long_words=False,
        break_on_hyphens=False,
    ):  # fmt: skip
        console.print(Text(line.replace("\0", " "), style=style), soft_wrap=True)


_COMMAND = re.compile("`[^`]*`")
