"""Read verdicts on rows of the audit sample from a file: a filled-in table, or an export of Label Studio.

`verdict_import` decides which rows are kept. A refused row can be written out again unchanged, with the reasons.
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

from feedback.audits.sample_export import ROW_FIELDS, VERDICT_FIELDS, restore
from feedback.exceptions import FeedbackError

REFUSED: Final = "refused"
"""The column of a table, or the field of a task, that holds why a row was refused."""

_NEEDED: Final = ("row", "text_digest", "verdict")
_COLUMNS: Final = frozenset({*ROW_FIELDS, *VERDICT_FIELDS, REFUSED})
_TABLES: Final = (".csv", ".tsv", ".txt")  # what a spreadsheet calls "Unicode text" ends in .txt
_LABEL_STUDIO: Final = "annotation_id"
"""A column that only Label Studio's tables have."""


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """A row of a file.

    Attributes:
        where: the place of the row in the file.
        fields: its values by the names of `feedback.audits.sample_export`'s columns; also `seconds` (to the verdict)
            and `number` (the reviewer's, where the file has no name).
        fault: why its fields cannot be read; None: they can.
        raw: the row as in the file: its cells, or the task with this one annotation.

    """

    where: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    raw: Any


RowFaults = Iterable[tuple[FileRow, Sequence[str]]]
"""Rows with their faults."""


class VerdictFile(Protocol):
    """The rows of a file, and the way to write rows in the same format."""

    @property
    def rows(self) -> Sequence[FileRow]:
        """All rows except empty ones, in order."""

    @property
    def how(self) -> str:
        """How people enter verdicts in it, as the end of a sentence."""

    def refused(self, rows: RowFaults) -> str:
        """Return the text of a file in the same format that holds these rows with their faults."""


def read_verdict_file(path: Path) -> VerdictFile:
    """Read a file of verdicts.

    Args:
        path: CSV (``.csv``, ``.tsv``, ``.txt``), separated by commas, semicolons or tabs, or Label Studio's ``.json``;
            in UTF-8, or in UTF-16 with a byte order mark.

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
    rows: list[FileRow]
    how: str = "fill in its column verdict (desirable, undesirable or unsure)"

    def refused(self, rows: RowFaults) -> str:
        text = io.StringIO(newline="")
        text.write("\ufeff")
        writer = csv.writer(text, delimiter=self.delimiter, quoting=csv.QUOTE_ALL)
        # The reasons of an earlier import are dropped.
        earlier = self.header.index(REFUSED) if REFUSED in self.header else -1
        header = [name for place, name in enumerate(self.header) if place != earlier]
        writer.writerow([REFUSED, *header])
        for row, faults in rows:
            cells = [cell for place, cell in enumerate(row.raw) if place != earlier]
            writer.writerow(["\n".join(faults), *cells])
        return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Tasks:
    rows: list[FileRow]
    how: str = "annotate them in Label Studio and export them again"

    def refused(self, rows: RowFaults) -> str:
        tasks = []
        for row, faults in rows:
            task = row.raw if isinstance(row.raw, dict) else {"task": row.raw}
            tasks.append(json.dumps({**task, REFUSED: list(faults)}))
        return "[\n" + ",\n".join(tasks) + "\n]\n"


def _read_table(path: Path) -> _Table:
    text = _read(path)
    csv.field_size_limit(sys.maxsize)
    delimiter = _delimiter(next(iter(text.splitlines()), ""))
    lines = _csv_rows(path, text, delimiter)
    header = [name.strip().lower() for name in next(lines, (1, []))[1]]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise FeedbackError(
            f"{path} has no column {', '.join(missing)} in its first line; "
            "fill in the file that `feedback-kto audit export` wrote"
        )
    rows = []
    for number, (line, cells) in enumerate(lines, start=2):
        if any(cell.strip() for cell in cells):
            # A text can have several lines; a spreadsheet counts rows.
            where = f"line {line}" if line == number else f"line {line} (row {number} of the sheet)"
            rows.append(_table_row(where, header, cells))
    return _Table(header=header, delimiter=delimiter, rows=rows)


def _delimiter(header: str) -> str:
    """Return the delimiter that gives the most known columns; spreadsheets write the one of their country."""

    def known_columns(delimiter: str) -> int:
        return len(_COLUMNS & {name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])})

    return max(",;\t", key=known_columns)


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each CSV row with the line that it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FeedbackError(f"{path}, line {line}, cannot be read as CSV ({error}); save it again") from error


def _table_row(where: str, header: Sequence[str], cells: list[str]) -> FileRow:
    if len(cells) > len(header) and any(cells[len(header) :]):
        fault = f"it has {len(cells)} cells and the first line has {len(header)}; put quotes around its texts"
        return FileRow(where=where, fault=fault, raw=cells)
    values: dict[str, Any] = dict(zip(header, cells, strict=False))
    if _LABEL_STUDIO in header:
        return FileRow(where=where, fields=_from_label_studio(values), raw=cells)
    fields = {name: restore(values[name]) for name in _COLUMNS & values.keys()}
    return FileRow(where=where, fields=fields, raw=cells)


def _read_tasks(path: Path) -> _Tasks:
    try:
        tasks = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise FeedbackError(f"{path} cannot be read as JSON ({error}); export it again") from error
    if not isinstance(tasks, list):
        raise FeedbackError(f"{path} holds no list of tasks; export them from Label Studio as JSON")
    return _Tasks(
        rows=[row for number, task in enumerate(tasks, start=1) for row in _task_rows(f"task {number}", task)]
    )


def _task_rows(where: str, task: object) -> list[FileRow]:
    """Return a row for each of a task's annotations, or one row without a verdict."""
    if isinstance(task, dict) and isinstance(task.get("data"), dict):
        annotations = task.get("annotations")
        several = annotations if isinstance(annotations, list) and annotations else [{}]
        rows = []
        for place, annotation in enumerate(several, start=1):
            here = f"{where}, annotation {place}" if len(several) > 1 else where
            raw = {**task, "annotations": [annotation]}
            if isinstance(annotation, dict):
                rows.append(FileRow(where=here, fields=_annotated(task["data"], annotation), raw=raw))
            else:
                rows.append(FileRow(where=here, fault="its annotation is no JSON object; export it again", raw=raw))
        return rows
    if isinstance(task, dict) and "row" in task:  # JSON-MIN, where an annotation's fields are the task's
        return [FileRow(where=where, fields=_from_label_studio(task), raw=task)]
    fault = "it is no task of `feedback-kto audit export`; export from Label Studio as JSON, JSON-MIN or CSV"
    return [FileRow(where=where, fault=fault, raw=task)]


def _annotated(data: Mapping[str, Any], annotation: Mapping[str, Any]) -> dict[str, Any]:
    flat = {"row": data.get("row"), "text_digest": data.get("text_digest")}
    results = annotation.get("result")
    # A skipped task has no verdict, even if a choice was made before.
    for result in results if isinstance(results, list) and not annotation.get("was_cancelled") else []:
        if isinstance(result, dict):
            flat[str(result.get("from_name"))] = result.get("value")
    flat |= {"annotator": annotation.get("completed_by"), "lead_time": annotation.get("lead_time")}
    return _from_label_studio(flat)


def _from_label_studio(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return Label Studio's fields by our names."""
    fields = {name: _text(flat.get(name)) for name in ("row", "text_digest", *VERDICT_FIELDS)}
    who = flat.get("annotator")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    who = _text(who).strip()
    if who.isdecimal():
        fields["number"] = f"Label Studio user {who}"
    else:
        fields["reviewer"] = fields["reviewer"].strip() or who
    seconds = flat.get("lead_time")
    return fields | {"seconds": None if seconds == "" else seconds}


def _text(value: object) -> str:
    """Return the text of a result: a text, a list of texts, or either of them in an object."""
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
