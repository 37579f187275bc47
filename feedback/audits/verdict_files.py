"""What a file says of rows of the audit sample: a table that people filled in, or what Label Studio exports.

Whether it may be kept is not decided here. A row that is refused can be written out again as it was, with why.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from feedback.audits.sample_export import ASKED, SHOWN, restore
from feedback.exceptions import FeedbackError

REFUSED: Final = "refused"
"""The column, or a task's field, where a row that was refused says why."""

_NEEDED: Final = ("row", "text_digest", "verdict")
_KNOWN: Final = frozenset({*SHOWN, *ASKED, REFUSED})
_TABLES: Final = (".csv", ".tsv", ".txt")  # what a spreadsheet calls "Unicode text" ends in .txt
_LABEL_STUDIO: Final = "annotation_id"
"""A column that Label Studio's tables have, and ours have not."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A row of a file.

    Attributes:
        where: it stands in the file.
        said: its fields, by the names of `feedback.audits.sample_export`'s columns; besides these `seconds` (to the
            verdict) and `number` (the reviewer's, where the file has no name).
        fault: why its fields cannot be had; None: they can.
        raw: the row as it is in the file: its cells, or the task with this one annotation.

    """

    where: str
    said: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    raw: Any


Faults = Iterable[tuple[Given, Sequence[str]]]
"""Rows, and what is wrong with each."""


class GivenFile(Protocol):
    """The rows of a file, and how rows are written in its form."""

    @property
    def rows(self) -> Sequence[Given]:
        """All but empty ones, in order."""

    @property
    def how(self) -> str:
        """How people give verdicts in it: the end of a sentence."""

    def refused(self, rows: Faults) -> str:
        """The text of a file like this one, of these rows with what is wrong with each."""


def read_given(path: Path) -> GivenFile:
    """Read a file of verdicts.

    Args:
        path: CSV (``.csv``, ``.tsv``, ``.txt``), parted by commas, semicolons or tabs, or Label Studio's ``.json``; in
            UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        FeedbackError: the file as a whole cannot be read.

    """
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return _read_table(path)
    if suffix == ".json":
        return _read_tasks(path)
    raise FeedbackError(f"{path} is neither a .csv (.tsv, .txt) nor a .json file; give it one of these endings")


@dataclass(frozen=True, kw_only=True)
class _Table:
    header: list[str]
    delimiter: str
    rows: list[Given]
    how: str = "fill in its column verdict (desirable, undesirable or unsure)"

    def refused(self, rows: Faults) -> str:
        text = io.StringIO(newline="")
        text.write("\ufeff")
        writer = csv.writer(text, delimiter=self.delimiter, quoting=csv.QUOTE_ALL)
        # What was refused before has said why before.
        said = self.header.index(REFUSED) if REFUSED in self.header else -1
        header = [name for place, name in enumerate(self.header) if place != said]
        writer.writerow([REFUSED, *header])
        for row, faults in rows:
            cells = [cell for place, cell in enumerate(row.raw) if place != said]
            writer.writerow(["\n".join(faults), *cells])
        return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Tasks:
    rows: list[Given]
    how: str = "annotate them in Label Studio and export them again"

    def refused(self, rows: Faults) -> str:
        tasks = []
        for row, faults in rows:
            task = row.raw if isinstance(row.raw, dict) else {"task": row.raw}
            tasks.append(json.dumps({**task, REFUSED: list(faults)}))
        return "[\n" + ",\n".join(tasks) + "\n]\n"


def _read_table(path: Path) -> _Table:
    text = _read(path)
    csv.field_size_limit(sys.maxsize)
    delimiter = _delimiter(next(iter(text.splitlines()), ""))
    records = _records(path, text, delimiter)
    header = [name.strip().lower() for name in next(records, (1, []))[1]]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        said = f"{path} has no column {', '.join(missing)} in its first line"
        raise FeedbackError(f"{said}; fill in what `feedback-kto audit export` wrote")
    rows = []
    for number, (line, cells) in enumerate(records, start=2):
        if any(cell.strip() for cell in cells):
            # Texts have several lines, and a spreadsheet counts rows.
            where = f"line {line}" if line == number else f"line {line} (row {number} of the sheet)"
            rows.append(_named(where, header, cells))
    return _Table(header=header, delimiter=delimiter, rows=rows)


def _delimiter(header: str) -> str:
    """What parts the header into the most columns that are ours; spreadsheets write what their country uses."""

    def known(delimiter: str) -> int:
        return len(_KNOWN & {name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])})

    return max(",;\t", key=known)


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records, each with the line that it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FeedbackError(f"{path}, line {line}, cannot be read as CSV ({error}); save it again") from error


def _named(where: str, header: Sequence[str], cells: list[str]) -> Given:
    if len(cells) > len(header) and any(cells[len(header) :]):
        fault = f"it has {len(cells)} cells and the first line {len(header)}; put quotes round its texts"
        return Given(where=where, fault=fault, raw=cells)
    said: dict[str, Any] = dict(zip(header, cells, strict=False))
    if _LABEL_STUDIO in header:
        return Given(where=where, said=_as_ours(said), raw=cells)
    return Given(where=where, said={name: restore(said[name]) for name in _KNOWN & said.keys()}, raw=cells)


def _read_tasks(path: Path) -> _Tasks:
    try:
        tasks = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise FeedbackError(f"{path} cannot be read as JSON ({error}); export it again") from error
    if not isinstance(tasks, list):
        raise FeedbackError(f"{path} holds no list of tasks; export them from Label Studio as JSON")
    return _Tasks(rows=[row for number, task in enumerate(tasks, start=1) for row in _of_task(f"task {number}", task)])


def _of_task(where: str, task: object) -> list[Given]:
    """A row for each of a task's annotations, or one that says nothing."""
    if isinstance(task, dict) and isinstance(task.get("data"), dict):
        annotations = task.get("annotations")
        several = annotations if isinstance(annotations, list) and annotations else [{}]
        rows = []
        for place, annotation in enumerate(several, start=1):
            here = f"{where}, annotation {place}" if len(several) > 1 else where
            raw = {**task, "annotations": [annotation]}
            if isinstance(annotation, dict):
                rows.append(Given(where=here, said=_annotated(task["data"], annotation), raw=raw))
            else:
                rows.append(Given(where=here, fault="its annotation is no JSON object; export it again", raw=raw))
        return rows
    if isinstance(task, dict) and "row" in task:  # JSON-MIN, where an annotation lies flat
        return [Given(where=where, said=_as_ours(task), raw=task)]
    fault = "it holds nothing that was exported from here; export from Label Studio as JSON, JSON-MIN or CSV"
    return [Given(where=where, fault=fault, raw=task)]


def _annotated(data: Mapping[str, Any], annotation: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"row": data.get("row"), "text_digest": data.get("text_digest")}
    results = annotation.get("result")
    # Who skips a task has said nothing, whatever was chosen before.
    for result in results if isinstance(results, list) and not annotation.get("was_cancelled") else []:
        if isinstance(result, dict):
            flat[str(result.get("from_name"))] = result.get("value")
    flat |= {"annotator": annotation.get("completed_by"), "lead_time": annotation.get("lead_time")}
    return _as_ours(flat)


def _as_ours(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Label Studio's fields by our names."""
    said = {name: _text(flat.get(name)) for name in ("row", "text_digest", *ASKED)}
    who = flat.get("annotator")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    who = _text(who).strip()
    if who.isdecimal():
        said["number"] = f"Label Studio user {who}"
    else:
        said["reviewer"] = said["reviewer"].strip() or who
    seconds = flat.get("lead_time")
    return said | {"seconds": None if seconds == "" else seconds}


def _text(value: object) -> str:
    """The text of a result, in whichever of its forms: a text, some of them, or either within an object."""
    if isinstance(value, dict):
        value = value.get("choices", value.get("text"))
    return "\n".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FeedbackError(f"{path} cannot be read ({error.strerror}); name another file") from error
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        name = "UTF-16" if wide else "UTF-8"
        raise FeedbackError(f"{path} is no {name} text (byte {error.start}); save it as CSV UTF-8") from error
