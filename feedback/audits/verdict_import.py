"""Verdicts from files that people filled in: a CSV export of ours, or what Label Studio exports.

Every row is checked by itself: what is right is kept, what is not is named and laid aside in a file that can be mended
and imported. The same file twice changes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from feedback.atomic_files import write_atomically
from feedback.audits.blind_rows import Sample
from feedback.audits.verdict_files import Given, GivenFile, read_given
from feedback.audits.verdicts import (
    GIVEN,
    REASONS,
    SIMULATED_PREFIX,
    Origin,
    Verdict,
    VerdictKind,
    append_verdicts,
    current_verdicts,
)
from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake
from feedback.lake.tables import VERDICTS

_ALIASES: Final = dict.fromkeys(("can't tell", "can’t tell"), VerdictKind.UNSURE.value)
_CONTENT: Final = ("draft_id", "text_digest", "reviewer", "verdict", "reason", "note")
"""What makes a verdict the one that was given before."""
_MOST_QUOTED: Final = 60
_REFUSED_STEM: Final = re.compile(r"\.refused(-\d+)?$")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A row that was not kept: where it stands in the file, and all that is wrong with it."""

    where: str
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a file's rows.

    Attributes:
        recorded: verdicts that were kept.
        known: that had been given before.
        changed: of those, how many their reviewer has changed or taken back since, which stays so.
        blank: rows that nobody has judged.
        refused: the rows that were not kept.
        aside: the file that holds those, with why; None where there are none.
        how: people give verdicts in such a file: the end of a sentence.

    """

    recorded: int
    known: int
    changed: int
    blank: int
    refused: tuple[Refusal, ...]
    aside: Path | None
    how: str


def import_verdicts(lake: Lake, path: Path, *, reviewer: str | None = None, refused: Path | None = None) -> Imported:
    """Keep the verdicts of a file, those that can be kept, and lay the other rows aside before that.

    Args:
        lake: holds the sample.
        path: what `feedback.audits.verdict_files.read_given` reads.
        reviewer: whose the verdicts are that the file gives to nobody.
        refused: the file for rows that are refused; by default ``NAME.refused.SUFFIX`` beside `path`, or
            ``NAME.refused-2.SUFFIX`` where that holds something else.

    Raises:
        FeedbackError: the file as a whole cannot be read, or `refused` is there already with something else; then
            nothing is kept.

    """
    file = read_given(path)
    sample = Sample(lake)
    before, stands = _said(lake)
    names = _names(lake)
    blank, known, changed, wrong = 0, 0, 0, []
    kept: dict[tuple[str, str], tuple[str, Verdict]] = {}
    for row in file.rows:
        verdict, faults = (None, [row.fault]) if row.fault else _verdict(row.said, sample, reviewer, names)
        if faults:
            wrong.append((row, faults))
        elif verdict is None:
            blank += 1
        else:
            first, other = kept.setdefault((verdict.draft_id, verdict.reviewer.casefold()), (row.where, verdict))
            if _content(other) != _content(verdict):
                fault = f"{verdict.reviewer} says something else of the same row on {first}; keep one of the two"
                wrong.append((row, [fault]))
            elif first != row.where or _content(verdict) in before:
                known += 1
                changed += _content(verdict) in before - stands
    aside = _lay_aside(file, wrong, path, refused) if wrong else None
    new = [verdict for _, verdict in kept.values() if _content(verdict) not in before]
    append_verdicts(lake, new, origin=Origin.IMPORT)
    return Imported(
        recorded=len(new),
        known=known,
        changed=changed,
        blank=blank,
        refused=tuple(Refusal(where=row.where, faults=tuple(faults)) for row, faults in wrong),
        aside=aside,
        how=file.how,
    )


def _verdict(
    said: Mapping[str, Any], sample: Sample, reviewer: str | None, names: dict[str, str]
) -> tuple[Verdict | None, list[str]]:
    """What a row of a file says, or all that is wrong with it; neither where nobody has judged it."""
    kind, reason, note = _word(said, "verdict"), _word(said, "reason").replace(" ", "_"), _stripped(said, "note")
    kind = _ALIASES.get(kind, kind)
    if not (kind or reason or note):
        return None, []
    key = _stripped(said, "row")
    name = " ".join((_stripped(said, "reviewer") or reviewer or _stripped(said, "number")).split())
    faults = [
        *_wrong_choice(kind, reason),
        *_wrong_row(key, _stripped(said, "text_digest"), sample),
        *_wrong_reviewer(name),
        *_wrong_rest(note, said.get("seconds")),
    ]
    if faults:
        return None, faults
    seconds = said.get("seconds")
    verdict = Verdict(
        draft_id=sample.draft_id(key),
        reviewer=names.setdefault(name.casefold(), name),
        verdict=kind,
        reason=reason or None,
        note=note or None,
        seconds=None if seconds is None else float(seconds),
        text_digest=sample.question(key).digest,
    )
    return verdict, []


def _wrong_choice(kind: str, reason: str) -> Iterator[str]:
    if not kind:
        yield f"it has a reason or a note and no verdict; give one of {', '.join(GIVEN)}, or empty all three"
    elif kind not in GIVEN:
        yield f"its verdict is {_quoted(kind)}; it must be one of {', '.join(GIVEN)}, or empty"
    if reason and reason not in REASONS:
        yield f"its reason is {_quoted(reason)}; it must be one of {', '.join(REASONS)}, or empty"


def _wrong_row(key: str, digest: str, sample: Sample) -> Iterator[str]:
    if key not in sample:
        yield f"row {_quoted(key)} is not in the audit sample; export the sample of now"
    elif digest != sample.question(key).digest:
        yield f"the text of row {key} is another now than was exported; export the row again"


def _wrong_reviewer(name: str) -> Iterator[str]:
    if not name:
        yield "it does not say who has judged it; fill in the column reviewer, or give --reviewer NAME"
    elif name.casefold().startswith(SIMULATED_PREFIX):
        yield f"its reviewer is {_quoted(name)}, but such names are simulated reviewers'; give another"
    elif not _is_unicode(name):
        yield f"its reviewer {_quoted(name)} is no Unicode text; write it again"


def _wrong_rest(note: str, seconds: object) -> Iterator[str]:
    if not _is_unicode(note):
        yield f"its note {_quoted(note)} is no Unicode text; write it again"
    if seconds is not None and not _is_duration(seconds):
        yield f"its lead_time is {_quoted(str(seconds))}; it must be a number of seconds, or empty"


def _is_duration(seconds: object) -> bool:
    try:
        value = float(seconds)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return math.isfinite(value) and value >= 0


def _is_unicode(text: str) -> bool:
    """Whether it can be stored; JSON can hold halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _stripped(said: Mapping[str, Any], name: str) -> str:
    return str(said.get(name) or "").strip()


def _word(said: Mapping[str, Any], name: str) -> str:
    return _stripped(said, name).lower()


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…")


_Content = tuple[str | None, ...]


def _content(verdict: Verdict) -> _Content:
    return _plain({name: getattr(verdict, name) for name in _CONTENT})


def _plain(row: Mapping[str, str | None]) -> _Content:
    """A verdict as a file would give it back: names without case, notes without blanks around."""
    reviewer = " ".join((row["reviewer"] or "").split()).casefold()
    plain = {**row, "reviewer": reviewer, "note": (row["note"] or "").strip() or None}
    return tuple(plain[name] for name in _CONTENT)


def _said(lake: Lake) -> tuple[set[_Content], set[_Content]]:
    """What people ever said, so that a file read again never undoes what was said since; and what of it stands."""
    with lake.sql(VERDICTS) as connection:
        ever = connection.sql(f"SELECT {', '.join(_CONTENT)} FROM verdicts").to_arrow_table()
    before, stands = (
        {_plain(row) for row in rows.select(_CONTENT).to_pylist()} for rows in (ever, current_verdicts(lake))
    )
    return before, stands


def _names(lake: Lake) -> dict[str, str]:
    """Who has given verdicts, as first written: Ann and ann are one person."""
    with lake.sql(VERDICTS) as connection:
        found = connection.execute("SELECT reviewer FROM verdicts ORDER BY recorded_at DESC").fetchall()
    return {name.casefold(): name for (name,) in found}


def _lay_aside(file: GivenFile, wrong: list[tuple[Given, list[str]]], path: Path, chosen: Path | None) -> Path:
    """Write the rows that are refused to a file, which never takes the place of another.

    Somebody may be mending what was laid aside before. The same rows twice are one file.
    """
    text = file.refused(wrong)
    if chosen is not None:
        if not _is_free(chosen, text):
            raise FeedbackError(f"{chosen} is there already; name another file for the rows that are refused")
        write_atomically(chosen, text)
        return chosen
    stem = _REFUSED_STEM.sub("", path.stem)
    tries = (path.with_name(f"{stem}.refused{f'-{n}' if n > 1 else ''}{path.suffix}") for n in count(1))
    aside = next(beside for beside in tries if _is_free(beside, text))
    write_atomically(aside, text)
    return aside


def _is_free(path: Path, text: str) -> bool:
    return not path.exists() or (path.is_file() and path.read_bytes() == text.encode())
