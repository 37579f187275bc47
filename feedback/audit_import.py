"""Verdicts from files that people filled in: a CSV export of ours, or what Label Studio exports as JSON.

Every row is checked by itself: what is right is kept, and what is not is named. The same file twice changes nothing.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from feedback.audit_exchange import GIVEN, file_kind, restore
from feedback.audit_rows import Sample
from feedback.exceptions import FeedbackError
from feedback.lake import Lake
from feedback.tables import VERDICTS
from feedback.verdicts import REASONS, SIMULATED_PREFIX, Verdict, record, standing

_NEEDED: Final = ("row", "text_digest", "verdict")
_ALIASES: Final = {"can't tell": "unsure", "can’t tell": "unsure"}
_CONTENT: Final = ("draft_id", "text_digest", "reviewer", "verdict", "reason", "note")
"""What makes a verdict the one that was given before."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of a file's rows.

    Attributes:
        recorded: verdicts that were kept.
        known: that had been kept before.
        blank: rows that nobody has judged.
        refused: where in the file, and why.

    """

    recorded: int
    known: int
    blank: int
    refused: list[tuple[str, str]] = field(default_factory=list)


def import_verdicts(lake: Lake, path: Path, *, reviewer: str | None = None) -> Imported:
    """Keep the verdicts of a file, those that can be kept.

    Args:
        lake: holds the sample.
        path: a CSV file of the columns that `export_rows` writes, or what Label Studio exports as JSON.
        reviewer: whose the verdicts are that the file gives to nobody.

    Raises:
        FeedbackError: the file as a whole cannot be read.

    """
    sample = Sample(lake)
    given = _read_csv(path) if file_kind(path) == ".csv" else _read_tasks(path)
    names = _names(lake)
    before = _before(lake)
    blank, known, refused = 0, 0, []
    kept: dict[tuple[str, str], tuple[str, Verdict]] = {}
    for where, said in given:
        try:
            verdict = _verdict(said(), sample, reviewer, names)
            if verdict is None:
                blank += 1
                continue
            first = kept.setdefault((verdict.draft_id, verdict.reviewer), (where, verdict))
            if first[0] != where and _content(first[1]) != _content(verdict):
                raise FeedbackError(f"{verdict.reviewer} says something else of the same row on {first[0]}; keep one")
            known += first[0] != where or _content(verdict) in before
        except FeedbackError as error:
            refused.append((where, str(error)))
    new = [verdict for _, verdict in kept.values() if _content(verdict) not in before]
    record(lake, new, origin="import")
    return Imported(recorded=len(new), known=known, blank=blank, refused=refused)


# A row of a file: where it stands, and what gives its fields or says why they cannot be had.
_Given = Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]


def _read_csv(path: Path) -> _Given:
    text = _read(path)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # spreadsheets save with what their country uses
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        said = f"{path} has no column {', '.join(missing)} in its first line"
        raise FeedbackError(f"{said}; fill in what `feedback-kto audit export` wrote")
    while True:
        where = f"line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FeedbackError(f"{path}, {where}, cannot be read as CSV ({error}); save it again") from error
        if any(cell.strip() for cell in cells):
            yield where, lambda cells=cells: _named(header, cells)  # type: ignore[misc]


def _named(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    if len(cells) > len(header) and any(cells[len(header) :]):
        raise FeedbackError(f"it has {len(cells)} cells and the first line {len(header)}; put quotes round its texts")
    return {name: restore(cell) for name, cell in zip(header, cells, strict=False)}


def _read_tasks(path: Path) -> _Given:
    try:
        tasks = json.loads(_read(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise FeedbackError(f"{path} cannot be read as JSON ({error}); export it again") from error
    if not isinstance(tasks, list):
        raise FeedbackError(f"{path} holds no list of tasks; export them from Label Studio as JSON")
    for number, task in enumerate(tasks, start=1):
        annotations = task.get("annotations") if isinstance(task, dict) else None
        if isinstance(annotations, list) and annotations:
            for place, annotation in enumerate(annotations, start=1):
                where = f"task {number}" + (f", annotation {place}" if len(annotations) > 1 else "")
                yield where, lambda task=task, annotation=annotation: _annotated(task, annotation)  # type: ignore[misc]
        else:
            yield f"task {number}", lambda task=task: _annotated(task, {})  # type: ignore[misc]


def _annotated(task: object, annotation: object) -> dict[str, Any]:
    """The fields of an annotation, by the names that a CSV file has for them."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict) or not isinstance(annotation, dict):
        raise FeedbackError("it holds no data; export from Label Studio as JSON, and not as JSON-MIN")
    said: dict[str, Any] = {"row": data.get("row"), "text_digest": data.get("text_digest")}
    results = annotation.get("result")
    for result in results if isinstance(results, list) and not annotation.get("was_cancelled") else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict):
            texts = value.get("choices", value.get("text", []))
            texts = texts if isinstance(texts, list) else [texts]
            said[str(result.get("from_name"))] = "\n".join(map(str, texts))
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        said["reviewer"] = who.get("email") or who.get("username")
        who = who.get("id")
    if isinstance(who, str):
        said["reviewer"] = who
    elif isinstance(who, int):
        said["number"] = f"Label Studio user {who}"
    seconds = annotation.get("lead_time")
    said["seconds"] = float(seconds) if isinstance(seconds, int | float) else None
    return said


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FeedbackError(f"{path} cannot be read ({error.strerror}); name another file") from error
    except UnicodeDecodeError as error:
        raise FeedbackError(f"{path} is no UTF-8 text (byte {error.start}); save it as CSV UTF-8") from error


def _verdict(said: Mapping[str, Any], sample: Sample, reviewer: str | None, names: dict[str, str]) -> Verdict | None:
    """What a row of a file says; None where nobody has judged it."""
    kind = _word(said.get("verdict"))
    kind = _ALIASES.get(kind, kind)
    if not kind:
        return None
    if kind not in GIVEN:
        raise FeedbackError(f"its verdict is {kind!r}; it must be one of {', '.join(GIVEN)}, or empty")
    key = str(said.get("row") or "").strip()
    if key not in sample:
        raise FeedbackError(f"row {key!r} is not in the audit sample; export the sample of now")
    if str(said.get("text_digest") or "").strip() != sample.question(key).digest:
        raise FeedbackError(f"the text of row {key} is another now than was exported; export the row again")
    reason = _word(said.get("reason")).replace(" ", "_") or None
    if reason is not None and reason not in REASONS:
        raise FeedbackError(f"its reason is {reason!r}; it must be one of {', '.join(REASONS)}, or empty")
    name = " ".join(str(said.get("reviewer") or reviewer or said.get("number") or "").split())
    if not name:
        raise FeedbackError("it does not say who has judged it; fill in the column reviewer, or give --reviewer NAME")
    if name.casefold().startswith(SIMULATED_PREFIX):
        raise FeedbackError(f"its reviewer is {name!r}, but such names are simulated reviewers'; give another")
    return Verdict(
        draft_id=sample.draft_id(key),
        reviewer=names.setdefault(name.casefold(), name),
        verdict=kind,
        reason=reason,
        note=str(said.get("note") or "").strip() or None,
        seconds=said.get("seconds") if isinstance(said.get("seconds"), float) else None,
        text_digest=sample.question(key).digest,
    )


def _word(value: object) -> str:
    return str(value or "").strip().lower()


def _content(verdict: Verdict) -> tuple[str | None, ...]:
    return tuple(getattr(verdict, name) for name in _CONTENT)


def _names(lake: Lake) -> dict[str, str]:
    """Who has given verdicts, as first written: Ann and ann are one person."""
    with lake.sql(VERDICTS) as connection:
        found = connection.execute("SELECT reviewer FROM verdicts ORDER BY recorded_at DESC").fetchall()
    return {name.casefold(): name for (name,) in found}


def _before(lake: Lake) -> set[tuple[str | None, ...]]:
    """What was imported ever, so that a file read again never undoes what was said since; and what stands."""
    with lake.sql(VERDICTS) as connection:
        imported = connection.execute(f"SELECT {', '.join(_CONTENT)} FROM verdicts WHERE origin = 'import'").fetchall()
    stands = standing(lake).select(_CONTENT).to_pylist()
    return {*imported, *(tuple(row.values()) for row in stands)}
