"""A shortcut for logs in the event format: lines that are certainly right become events without the mapping.

`canonical.sql` and the checks define the events of a line. A line that the shortcut takes gives the same events there
(a test compares the two). Lines in any doubt go to the mapping: a key without a column, a null, a value of another
type. The shortcut takes half the time, because it parses a good line directly into columns.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from feedback.ingest.event_checks import UNTEXTUAL, fits, odd_extra
from feedback.lake.arrow_rows import by_line, without_rows
from feedback.lake.event_schema import MAPPED_COLUMNS
from feedback.sources.json_depth import DEPTH_LIMIT
from feedback.sources.raw_files import RawFile
from feedback.sources.source import Source, load_source, shipped_sources

_TYPES: Final = {
    # Without draft columns that are no text: a line with one goes to the mapping.
    **dict.fromkeys((name for name in MAPPED_COLUMNS if name not in UNTEXTUAL), "VARCHAR"),
    "occurred_at": "TIMESTAMPTZ",
    "received_at": "TIMESTAMPTZ",
    "prompt": [{"role": "VARCHAR", "content": "VARCHAR"}],
    "reasons": ["VARCHAR"],
    "score": "JSON",
    "extra": "JSON",
}
_TEXTS: Final = [name for name, type in _TYPES.items() if type == "VARCHAR" and name != "kind"]
# A shorter text cannot nest deeper than the limit.
_SHORT: Final = 2 * DEPTH_LIMIT

# DuckDB reads any JSON value as text into a text column. A value that passes this test can only be a string: it does
# not look like a number, an object, a list, true or false.
_MACRO: Final = """
CREATE OR REPLACE TEMP MACRO is_string(value) AS
value IS NOT NULL AND CASE
    WHEN contains('{[tf-0123456789', left(value, 1))
    THEN NOT regexp_full_match(value, '(?s)[{\\[].*|true|false|[-+.0-9eE]+')
    ELSE true
END
"""


@cache
def _canonical_digest() -> str:
    return load_source(shipped_sources()["canonical"]).digest


def leads_past(source: Source) -> bool:
    """Return whether the shortcut replaces this source's mapping."""
    return source.digest == _canonical_digest()


class Shortcut:
    """The shortcut for the lines of one arrival day."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: Source, arrival_date: date) -> None:
        self._connection = connection
        self._select = _select(source, arrival_date)
        self._pays = leads_past(source)
        self.events: list[pa.Table] = []
        """`file`, `line` and the event columns of the taken lines, with `reason` and `fault` null."""

    def take(self, file: RawFile, lines: pa.Table) -> pa.Table:
        """Turn the lines that are certainly right into events, and return the others.

        Args:
            file: the file of the lines.
            lines: `line` and `text`, as from `read_texts`.

        """
        if not self._pays or file.format != "jsonl":
            return lines
        self._connection.execute(_MACRO)
        self._connection.register("lines_at_hand", lines)
        rows = by_line(self._connection.sql(self._select, params={"file": file.name}).to_arrow_table())
        self._connection.unregister("lines_at_hand")
        plain = rows.column("plain")
        taken = pc.sum(plain).as_py() or 0
        # In a log that writes nulls for unknown values, for example, each line is in doubt.
        self._pays = taken >= lines.num_rows / 2
        events = rows.drop_columns(["plain"])
        if taken == lines.num_rows:
            self.events.append(events)
            return lines.slice(0, 0)
        doubtful = pc.indices_nonzero(pc.invert(plain)).to_numpy()
        self.events.append(without_rows(events, doubtful))
        return lines.take(doubtful)


def _select(source: Source, arrival_date: date) -> str:
    """Return the SELECT over `lines_at_hand` that gives the columns of `Shortcut.events` and `plain`."""
    expressions = {
        "received_at": "coalesce(received_at, occurred_at)",
        "score": "TRY_CAST(score AS DOUBLE)",
        "source": f"coalesce(source, '{source.name}')",
        "extra": "extra::VARCHAR",
        **{name: f"NULL::{type}" for name, type in UNTEXTUAL.items()},
    }
    columns = ", ".join(f"{expressions[name]} AS {name}" if name in expressions else name for name in MAPPED_COLUMNS)
    values = " + ".join(f"CAST({name} IS NOT NULL AS INTEGER)" for name in _TYPES)
    # In this order, columns that have no value in most lines cost nothing.
    tests = [
        # As many values as keys: no key lacks a column, occurs twice, is null, or has a type that turns into null.
        f"keys = {values}",
        *(f"({name} IS NULL OR is_string({name}))" for name in _TEXTS),
        "(score IS NULL OR contains('01', left(score::VARCHAR, 1)) AND TRY_CAST(score AS DOUBLE) BETWEEN 0 AND 1)",
        f"(extra IS NULL OR starts_with(extra::VARCHAR, '{{') AND strlen(extra::VARCHAR) <= {_SHORT} "
        f"AND ({odd_extra('extra::VARCHAR')}) IS NULL)",
        "(reasons IS NULL OR len(list_filter(reasons, lambda r: NOT is_string(r))) = 0)",
        "(prompt IS NULL OR len(list_filter(prompt, lambda m: NOT (is_string(m.role) AND is_string(m.content)))) = 0)",
        fits(arrival_date),
    ]
    return f"""
    SELECT $file AS file, line, {columns}, NULL::VARCHAR AS reason, NULL::VARCHAR AS fault,
        CASE WHEN {" AND ".join(tests)} THEN true ELSE false END AS plain
    FROM (
        SELECT line, unnest(from_json(row, '{json.dumps(_TYPES)}')), len(json_keys(row)) AS keys
        FROM (SELECT line, CASE WHEN json_valid(text) THEN text END AS row FROM lines_at_hand)
    )
    """
