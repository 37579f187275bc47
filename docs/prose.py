"""Measure how long the sentences of the documentation are: `python docs/prose.py [FILE.md …]`.

Without files it reads README.md and docs/*.md. Code blocks, tables, headings, images and HTML are left out. A list item
begins a sentence, a code span is one word, and fragments of three words or fewer do not count.
"""

import re
import statistics
import sys
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path
from typing import NamedTuple

MEDIAN, NINTH_DECILE = 16, 30  # the most words that a sentence of this rank may have
SHOWN = 10  # longest sentences that a failure prints

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = ("|", "#", "<", "![")
ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
END = re.compile(r"[.!?][)\"”*]*\s+(?=[(\"“*]*[A-ZÄÖÜΑ-ω])")
WORD = re.compile(r"[\w'’-]+")


class Sentence(NamedTuple):
    """A sentence, how many words it has, and the file and line that it begins on."""

    words: int
    path: Path
    line: int
    text: str


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield each paragraph and list item with the number of its first line."""
    fenced, first, lines = False, 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        prose = bool(line.strip()) and not (fenced or fence or line.lstrip().startswith(SKIPPED))
        if lines and (not prose or ITEM.match(line)):
            yield first, "\n".join(lines)
            lines.clear()
        if prose:
            first = first if lines else number
            lines.append(ITEM.sub("", line))


def sentences(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a Markdown file."""
    for first, block in blocks(path.read_text(encoding="utf-8")):
        # Line breaks stay for the sentence's line number, and a code span becomes a word that can begin a sentence.
        plain = LINK.sub(r"\1", CODE.sub(lambda span: "Code" + "\n" * span[0].count("\n"), block))
        starts = [0, *(end.end() for end in END.finditer(plain))]
        for start, stop in zip(starts, [*starts[1:], len(plain)], strict=True):
            text, line = plain[start:stop], first + plain.count("\n", 0, start)
            if (words := len(WORD.findall(text))) > 3:
                yield Sentence(words, path, line, " ".join(text.split()))


def main(names: list[str]) -> str | None:
    """Print the figures of these files, or of all; return what is wrong with them, or None."""
    paths = [Path(name) for name in names] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    longest = sorted((one for path in paths for one in sentences(path)), key=lambda one: -one.words)
    if not longest:
        return f"There are no sentences in {', '.join(map(str, paths))}."
    median, decile = statistics.median(one.words for one in longest), longest[len(longest) // 10].words
    figures = f"median {median:g} words, ninth decile {decile}"
    print(f"{len(longest)} sentences in {len(paths)} files: {figures}")
    if median <= MEDIAN and decile <= NINTH_DECILE:
        return None
    shown = [f"  {relpath(one.path)}:{one.line}: {one.words} words: {one.text:.90}" for one in longest[:SHOWN]]
    too_long = f"Sentences are too long ({figures}; at most {MEDIAN} and {NINTH_DECILE}): split the longest."
    return "\n".join([too_long, *shown])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
