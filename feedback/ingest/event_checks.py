"""Does a mapped row fit the event schema? A SELECT that casts each column and says what is wrong, row by row.

A mapping may return a column as JSON (`row -> 'ticket_id'`) and leave the conversion to us: a text must then be a
JSON string, and not an object that happens to print as text. What is nested (`prompt`, `reasons`, `extra`) may come as
text that holds JSON, as it does in CSV files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import pyarrow as pa

from feedback.exceptions import SourceError
from feedback.lake.event_schema import ALL_KINDS, DRAFT_KINDS, IGNORED, MAPPED_COLUMNS, NEEDED_COLUMNS, ROW_SUFFIXES
from feedback.lake.sql_literals import literal, literals
from feedback.sources.source import Source
from label_policy import DRAFT_COLUMNS

REQUIRED: Final = ("event_id", "kind", "ticket_id", "occurred_at")
EARLIEST: Final = "2000-01-01"
"""No support log is older: an earlier time is seconds read as milliseconds, or a zero."""

_TIMES: Final = ("occurred_at", "received_at")
_PROSE: Final = ("kind", "completion", "final_text")  # in other text columns a number is an id like any other
_MESSAGES: Final = 'STRUCT("role" VARCHAR, "content" VARCHAR)[]'
_NULL: Final = '"NULL"'
# Outside its strings, JSON has no letters but those of true, false and null, and the e of a number.
_BARE_NAN: Final = r'^(?:[^"]|"(?:[^"\\]|\\.)*")*?(?i:nan|inf)'
_COLUMNS: Final = (*MAPPED_COLUMNS, "reason")
_TYPE_WORDS: Final = {"DOUBLE": "a number", "BOOLEAN": "true or false"}
UNTEXTUAL: Final = {
    column.name: {pa.float64(): "DOUBLE", pa.bool_(): "BOOLEAN"}[column.type]
    for column in DRAFT_COLUMNS
    if column.type != pa.string()
}
"""Draft columns that are no text, with their DuckDB types."""


@dataclass(frozen=True, kw_only=True)
class _Column:
    """How a column of the mapping becomes the event's: SQL for its value, and for what is wrong with it or null.

    The second sees the value under the column's name, and what the mapping returned as `raw_<name>`.
    """

    value: str
    wrong: str = "NULL"


def check_columns(source: Source, columns: Mapping[str, str]) -> None:
    """Check the names of the columns (name to DuckDB type) that a mapping returns.

    Raises:
        SourceError: one is unknown, or one that every event needs is missing.
    """
    for name in columns:
        if name not in ("file", "line", *_COLUMNS):
            raise SourceError(
                f"Source {source.path} returns the unknown column {name!r}: return file, line and any of "
                f"{', '.join(MAPPED_COLUMNS)}, and reason for ignored parts."
            )
    for name in ("file", "line", *REQUIRED):
        if columns.get(name, _NULL) == _NULL:
            raise SourceError(f"Source {source.path} does not return {name}: every event needs it.")


def checked_select(source: Source, columns: Mapping[str, str], arrival_date: date) -> str:
    """Write the SELECT over the view `mapping` that gives `file, line, <event columns>, reason, fault`.

    `fault` is null for a row that fits and for a part that the mapping ignores, else says what is wrong first.

    Raises:
        SourceError: a column's type can never become the event column's.
    """
    parts = {name: _column(source, name, columns.get(name, _NULL)) for name in _COLUMNS}
    checked = {name: column for name, column in parts.items() if column.wrong != "NULL"}
    raw = "".join(f", {name} AS raw_{name}" for name in checked)
    values = ",\n        ".join(f"{column.value} AS {name}" for name, column in parts.items())
    faults = ",\n        ".join([*(column.wrong for column in checked.values()), _rules(arrival_date)])
    defaults = {"received_at": "occurred_at", "source": literal(source.name)}
    names = ", ".join(f"coalesce({n}, {defaults[n]}) AS {n}" if n in defaults else n for n in _COLUMNS)
    # Values are computed one level below where they are looked at: DuckDB makes what it finds twice in a CASE twice.
    return f"""
    SELECT file, line, {names},
        CASE WHEN kind IS DISTINCT FROM '{IGNORED}' THEN coalesce(
        {faults}) END AS fault
    FROM (
        SELECT file::VARCHAR AS file, line::BIGINT AS line{raw},
        {values}
        FROM mapping
    )
    """


def fits(arrival_date: date) -> str:
    """Write SQL for whether event columns, each of its type, make an event that could have arrived on the day."""
    return f"({_rules(arrival_date)}) IS NULL"


def odd_extra(extra: str) -> str:
    """Write SQL for what is wrong with an `extra` that DuckDB takes for JSON and others would not, or null.

    A key given twice in a nested object is not seen: to tell one, every value would have to be walked through.

    Args:
        extra: SQL for the minified text.

    """
    keys = f"json_keys({extra})"
    return f"""CASE
        WHEN (contains(lower({extra}), 'nan') OR contains(lower({extra}), 'inf'))
            AND regexp_matches({extra}, '{_BARE_NAN}')
        THEN 'extra: holds NaN or Infinity, which JSON does not have'
        WHEN len({keys}) <> list_unique({keys}) THEN 'extra: holds a key twice'
        END"""


def _column(source: Source, name: str, type: str) -> _Column:
    if type == _NULL:
        return _Column(value=f"NULL::{_TYPES.get(name, 'VARCHAR')}")
    if name in _TIMES:
        column: _Column | None = _time(name, type)
    elif name == "score":
        column = _number(name, type, "{} BETWEEN 0 AND 1")  # NaN is greater than 1
    elif name == "extra":
        column = _extra(name, type)
    elif name == "prompt":
        column = _prompt(name, type)
    elif name == "reasons":
        column = _reasons(name, type)
    elif _TYPES.get(name) == "DOUBLE":
        column = _number(name, type, "isfinite({})")
    elif _TYPES.get(name) == "BOOLEAN":
        column = _boolean(name, type)
    else:
        column = _scalar(name, type)
    if column is None:
        what = _WANTED.get(name, "text")
        raise SourceError(f"Source {source.path} returns {name} as {type}: return {what}.")
    return column


_TYPES: Final = {
    "occurred_at": "TIMESTAMPTZ",
    "received_at": "TIMESTAMPTZ",
    "prompt": _MESSAGES,
    "reasons": "VARCHAR[]",
    "score": "DOUBLE",
    **UNTEXTUAL,
}
_WANTED: Final = {
    "occurred_at": "a TIMESTAMP, as to_timestamp(seconds) or epoch_ms(milliseconds) give, or its ISO text",
    "received_at": "a TIMESTAMP, as to_timestamp(seconds) or epoch_ms(milliseconds) give, or its ISO text",
    "prompt": "a list of {'role': text, 'content': text}, or its JSON",
    "reasons": "a list of text, or its JSON",
    "score": "a number from 0 to 1",
    **{name: _TYPE_WORDS[type] for name, type in UNTEXTUAL.items()},
}


def _time(name: str, type: str) -> _Column | None:
    if type == "DATE" or type.startswith("TIMESTAMP"):
        return _Column(value=f"TRY_CAST({name} AS TIMESTAMPTZ)")
    if type not in ("VARCHAR", "JSON"):
        return None
    text = name if type == "VARCHAR" else f"CASE WHEN {_is_text(name)} THEN {name} ->> '$' END"
    return _Column(value=f"TRY_CAST({text} AS TIMESTAMPTZ)", wrong=_misfit(name, "is not a time"))


def _scalar(name: str, type: str) -> _Column | None:
    if type == "VARCHAR":
        return _Column(value=name)
    if type == "JSON":
        number = "" if name in _PROSE else f" WHEN {_is_number(name)} THEN {name}::VARCHAR"
        value = f"CASE WHEN {_is_text(name)} THEN {name} ->> '$'{number} END"
        return _Column(value=value, wrong=_misfit(name, "is not text"))
    if type.endswith("]") or type.startswith(("STRUCT(", "MAP(", "UNION(", "BLOB", "VARIANT")):
        return None
    return _Column(value=f"{name}::VARCHAR")


def _number(name: str, type: str, fits: str) -> _Column | None:
    """A number for which `fits`, SQL with a place for it, holds."""
    if type.endswith("]") or type.startswith(("STRUCT(", "MAP(", "UNION(", "BLOB", "VARIANT", "DATE", "TIME")):
        return None
    text = f"CASE WHEN {_is_number(name)} THEN {name} END" if type == "JSON" else name
    number = f"TRY_CAST({text} AS DOUBLE)"
    value = f"CASE WHEN {fits.format(number)} THEN {number} END"
    return _Column(value=value, wrong=_misfit(name, f"is not {_WANTED[name]}"))


def _boolean(name: str, type: str) -> _Column | None:
    if type == "BOOLEAN":
        return _Column(value=name)
    if type not in ("VARCHAR", "JSON"):
        return None
    value = f"CASE lower({name}::VARCHAR) WHEN 'true' THEN true WHEN 'false' THEN false END"
    return _Column(value=value, wrong=_misfit(name, f"is not {_WANTED[name]}"))


def _extra(name: str, type: str) -> _Column:
    if type not in ("VARCHAR", "JSON"):
        return _Column(value=f"to_json({name})::VARCHAR", wrong=odd_extra(name))
    value = f"json({_parsed(name, type)})::VARCHAR"  # minified: the same whichever way it was written
    return _Column(value=value, wrong=f"coalesce({_misfit(name, 'is not JSON')}, {odd_extra(name)})")


def _reasons(name: str, type: str) -> _Column | None:
    if type == "VARCHAR[]":
        return _Column(value=name)
    if type not in ("VARCHAR", "JSON"):
        return None
    parts = f"TRY_CAST({_parsed(name, type)} AS JSON[])"
    strays = f"len(list_filter({parts}, lambda part: NOT coalesce({_is_text('part')}, false)))"
    value = f"CASE WHEN {strays} = 0 THEN TRY_CAST({_parsed(name, type)} AS VARCHAR[]) END"
    return _Column(value=value, wrong=_misfit(name, "is not a list of text"))


def _prompt(name: str, type: str) -> _Column | None:
    if type in (_MESSAGES, 'STRUCT("content" VARCHAR, "role" VARCHAR)[]'):
        partial = f"len(list_filter(raw_{name}, lambda m: m.role IS NULL OR m.content IS NULL)) > 0"
        wrong = f"CASE WHEN {partial} THEN '{name}: has a message without role or content' END"
        return _Column(value=f"{name}::{_MESSAGES}", wrong=wrong)
    if type not in ("VARCHAR", "JSON"):
        return None
    parts = f'TRY_CAST({_parsed(name, type)} AS STRUCT("role" JSON, "content" JSON)[])'
    whole = " AND ".join(f"coalesce({_is_text(part)}, false)" for part in ("m.role", "m.content"))
    strays = f"len(list_filter({parts}, lambda m: NOT ({whole})))"
    value = f"CASE WHEN {strays} = 0 THEN TRY_CAST({_parsed(name, type)} AS {_MESSAGES}) END"
    what = "is not a list of {role, content} with text in both"
    return _Column(value=value, wrong=_misfit(name, what, shown=False))


def _rules(arrival_date: date) -> str:
    """Write the CASE that says what is wrong with a row whose every column fits its type.

    Times: not before `EARLIEST`; not later than a day after the arrival day; nothing received more than a day before
    it occurred (clocks differ, but not by days).
    """
    latest = f"TIMESTAMPTZ '{arrival_date + timedelta(days=2)} 00:00:00+00'"
    earliest = f"TIMESTAMPTZ '{EARLIEST} 00:00:00+00'"
    empty = {name: "" if name in _TIMES else f" OR {name} = ''" for name in REQUIRED}
    branches = [f"WHEN {name} IS NULL{empty[name]} THEN '{name}: missing'" for name in REQUIRED]
    branches += [
        f"WHEN kind NOT IN ({literals(ALL_KINDS)}) THEN 'kind: ''' || left(kind, 40) || ''' is no kind of event'",
        f"WHEN kind IN ({literals(DRAFT_KINDS)}) AND (draft_id IS NULL OR draft_id = '') "
        "THEN 'draft_id: missing, and ' || kind || ' needs it'",
        *(
            f"WHEN ends_with(draft_id, '{suffix}') THEN 'draft_id: ''' || left(draft_id, 40) "
            f"|| ''' ends in {suffix}, which is kept for rows derived from drafts'"
            for suffix in ROW_SUFFIXES
        ),
    ]
    branches += [
        f"WHEN kind = '{kind}' AND {name} IS NULL THEN '{name}: missing, and {kind} needs it'"
        for kind, names in NEEDED_COLUMNS.items()
        for name in names
    ]
    for name in _TIMES:
        branches += [
            f"WHEN {name} < {earliest} THEN '{name}: ' || {name}::VARCHAR || ' is before {EARLIEST}'",
            f"WHEN {name} >= {latest} THEN '{name}: ' || {name}::VARCHAR || ' is after the arrival day'",
        ]
    branches.append(
        "WHEN occurred_at > received_at + INTERVAL 1 DAY THEN 'occurred_at: ' || occurred_at::VARCHAR "
        "|| ' is more than a day after received_at'"
    )
    return "CASE " + "\n        ".join(branches) + " END"


def _is_text(name: str) -> str:
    """SQL for whether JSON is a string. Cheaper than asking its type."""
    return f"starts_with({name}::VARCHAR, '\"')"


def _is_number(name: str) -> str:
    return f"contains('-0123456789', left({name}::VARCHAR, 1))"


def _parsed(name: str, type: str) -> str:
    """SQL for the JSON that a column is or, as text, holds."""
    if type == "VARCHAR":
        return f"TRY_CAST({name} AS JSON)"
    return f"CASE WHEN {_is_text(name)} THEN TRY_CAST({name} ->> '$' AS JSON) ELSE {name} END"


def _misfit(name: str, what: str, *, shown: bool = True) -> str:
    """SQL for the message about a column that has something which came to nothing, or null."""
    # Long values are customers' text: cut short.
    message = f"'{name}: ' || left(raw_{name}::VARCHAR, 40) || ' {what}'" if shown else f"'{name}: {what}'"
    return f"CASE WHEN {name} IS NULL AND raw_{name}::VARCHAR <> 'null' THEN {message} END"
