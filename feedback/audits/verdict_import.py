"""Import verdicts from a file that people filled in: our CSV export, or an export of Label Studio.

Every row is checked on its own. Valid rows are kept; the others are named and written to a file of refused rows, which
people can correct and import. Importing the same file twice changes nothing.
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
from feedback.audits.verdict_files import FileRow, VerdictFile, read_verdict_file
from feedback.audits.verdicts import (
    ANSWERS,
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
"""Two verdicts that agree in these fields are the same verdict."""
_MOST_QUOTED: Final = 60
_REFUSED_STEM: Final = re.compile(r"\.refused(-\d+)?$")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A row that was not kept: its place in the file, and all its faults."""

    where: str
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The result of an import.

    Attributes:
        recorded: verdicts that were kept.
        known: verdicts that the lake held already.
        changed: how many of the known ones their reviewer has changed or withdrawn since; the import does not undo
            that.
        blank: rows without a verdict.
        refused: the rows that were not kept.
        aside: the file that holds the refused rows with the reasons; None where there are none.
        how: how people enter verdicts in such a file, as the end of a sentence.

    """

    recorded: int
    known: int
    changed: int
    blank: int
    refused: tuple[Refusal, ...]
    aside: Path | None
    how: str


def import_verdicts(lake: Lake, path: Path, *, reviewer: str | None = None, refused: Path | None = None) -> Imported:
    """Write the refused rows of a file to a second file, then keep the valid verdicts.

    Args:
        lake: holds the sample.
        path: a file that `feedback.audits.verdict_files.read_verdict_file` reads.
        reviewer: the reviewer of verdicts without one in the file.
        refused: the file for refused rows; by default ``NAME.refused.SUFFIX`` beside `path`, or
            ``NAME.refused-2.SUFFIX`` where that exists with other content.

    Raises:
        FeedbackError: the file as a whole cannot be read, or `refused` exists with other content; then nothing is
            kept.

    """
    file = read_verdict_file(path)
    sample = Sample(lake)
    recorded, current = _stored_contents(lake)
    names = _names(lake)
    blank, known, changed, wrong = 0, 0, 0, []
    kept: dict[tuple[str, str], tuple[str, Verdict]] = {}
    for row in file.rows:
        verdict, faults = (None, [row.fault]) if row.fault else _verdict(row.fields, sample, reviewer, names)
        if faults:
            wrong.append((row, faults))
        elif verdict is None:
            blank += 1
        else:
            first, other = kept.setdefault((verdict.draft_id, verdict.reviewer.casefold()), (row.where, verdict))
            if _content(other) != _content(verdict):
                fault = f"{verdict.reviewer} has another verdict on the same row on {first}; keep one of the two"
                wrong.append((row, [fault]))
            elif first != row.where or _content(verdict) in recorded:
                known += 1
                changed += _content(verdict) in recorded - current
    aside = _write_refused(file, wrong, path, refused) if wrong else None
    new = [verdict for _, verdict in kept.values() if _content(verdict) not in recorded]
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
    fields: Mapping[str, Any], sample: Sample, reviewer: str | None, names: dict[str, str]
) -> tuple[Verdict | None, list[str]]:
    """Return the verdict of a row, or all its faults; neither where the row is not filled in."""
    kind, reason, note = _word(fields, "verdict"), _word(fields, "reason").replace(" ", "_"), _stripped(fields, "note")
    kind = _ALIASES.get(kind, kind)
    if not (kind or reason or note):
        return None, []
    key = _stripped(fields, "row")
    name = " ".join((_stripped(fields, "reviewer") or reviewer or _stripped(fields, "number")).split())
    faults = [
        *_wrong_choice(kind, reason),
        *_wrong_row(key, _stripped(fields, "text_digest"), sample),
        *_wrong_reviewer(name),
        *_wrong_rest(note, fields.get("seconds")),
    ]
    if faults:
        return None, faults
    seconds = fields.get("seconds")
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
        yield f"it has a reason or a note but no verdict; give one of {', '.join(ANSWERS)}, or empty all three"
    elif kind not in ANSWERS:
        yield f"its verdict is {_quoted(kind)}; it must be one of {', '.join(ANSWERS)}, or empty"
    if reason and reason not in REASONS:
        yield f"its reason is {_quoted(reason)}; it must be one of {', '.join(REASONS)}, or empty"


def _wrong_row(key: str, digest: str, sample: Sample) -> Iterator[str]:
    if key not in sample:
        yield f"row {_quoted(key)} is not in the audit sample; export the current sample"
    elif digest != sample.question(key).digest:
        yield f"the text of row {key} has changed since the export; export the row again"


def _wrong_reviewer(name: str) -> Iterator[str]:
    if not name:
        yield "it has no reviewer; fill in the column reviewer, or give --reviewer NAME"
    elif name.casefold().startswith(SIMULATED_PREFIX):
        yield f"its reviewer is {_quoted(name)}, but only simulated reviewers have such names; give another name"
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
    """Return whether the text can be stored; JSON can hold halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _stripped(fields: Mapping[str, Any], name: str) -> str:
    return str(fields.get(name) or "").strip()


def _word(fields: Mapping[str, Any], name: str) -> str:
    return _stripped(fields, name).lower()


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…")


_Content = tuple[str | None, ...]


def _content(verdict: Verdict) -> _Content:
    return _normalized({name: getattr(verdict, name) for name in _CONTENT})


def _normalized(row: Mapping[str, str | None]) -> _Content:
    """Return a verdict as a file would return it: names without case, notes without outer blanks."""
    reviewer = " ".join((row["reviewer"] or "").split()).casefold()
    fields = {**row, "reviewer": reviewer, "note": (row["note"] or "").strip() or None}
    return tuple(fields[name] for name in _CONTENT)


def _stored_contents(lake: Lake) -> tuple[set[_Content], set[_Content]]:
    """Return all verdicts ever recorded, and the current ones.

    With all of them, an old file never undoes a newer verdict.
    """
    with lake.sql(VERDICTS) as connection:
        ever = connection.sql(f"SELECT {', '.join(_CONTENT)} FROM verdicts").to_arrow_table()
    recorded, current = (
        {_normalized(row) for row in rows.select(_CONTENT).to_pylist()} for rows in (ever, current_verdicts(lake))
    )
    return recorded, current


def _names(lake: Lake) -> dict[str, str]:
    """Return the reviewers as they first wrote their names, by casefolded name: Ann and ann are one person."""
    with lake.sql(VERDICTS) as connection:
        rows = connection.execute("SELECT reviewer FROM verdicts ORDER BY recorded_at DESC").fetchall()
    return {name.casefold(): name for (name,) in rows}


def _write_refused(file: VerdictFile, wrong: list[tuple[FileRow, list[str]]], path: Path, chosen: Path | None) -> Path:
    """Write the refused rows to a file and return its path; no other file is overwritten.

    People may still be correcting an earlier file. The same rows twice are one file.
    """
    text = file.refused(wrong)
    if chosen is not None:
        if not _is_free(chosen, text):
            raise FeedbackError(f"{chosen} exists already; name another file for the refused rows")
        write_atomically(chosen, text)
        return chosen
    stem = _REFUSED_STEM.sub("", path.stem)
    tries = (path.with_name(f"{stem}.refused{f'-{n}' if n > 1 else ''}{path.suffix}") for n in count(1))
    aside = next(beside for beside in tries if _is_free(beside, text))
    write_atomically(aside, text)
    return aside


def _is_free(path: Path, text: str) -> bool:
    return not path.exists() or (path.is_file() and path.read_bytes() == text.encode())
