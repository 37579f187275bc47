"""Load one arrival day's raw files into their own DuckDB: the table `day_lines`; mappings see its view `lines`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from feedback.lake.connections import connected
from feedback.progress import Report
from feedback.sources.json_lines import LINE_LIMIT, read_texts
from feedback.sources.line_streams import FileRead
from feedback.sources.raw_files import RawFile

# A line has a row if it is a JSON object; else its text is kept and `fault` holds the reason. Later stages may set
# `fault` on a line that has a row. Blank lines are not in the table, so they are ignored.
_EMPTY: Final = """
CREATE OR REPLACE TABLE day_lines (
    ordinal BIGINT, file VARCHAR, line BIGINT, row JSON, text VARCHAR, fault VARCHAR
)
"""

_SPACE: Final = r"E' \t\r\n'"

# TRY_CAST parses a line once and returns it as JSON; a line that parses and begins with a brace is an object. Other
# lines are parsed again to name their type.
_INSERT: Final = f"""
INSERT INTO day_lines
SELECT ordinal, $file, line, parsed,
    CASE WHEN parsed IS NULL THEN text END,
    CASE
        WHEN parsed IS NULL
        THEN coalesce('not a JSON object: ' || lower(json_type(TRY_CAST(text AS JSON))), 'not JSON')
    END
FROM (
    SELECT *,
        CASE
            WHEN starts_with(text, '{{') OR starts_with(ltrim(text, {_SPACE}), '{{') THEN TRY_CAST(text AS JSON)
        END AS parsed
    FROM chunk
)
"""

_DROP_BLANK: Final = f"DELETE FROM day_lines WHERE row IS NULL AND trim(text, {_SPACE}) = ''"


@contextmanager
def day_connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty DuckDB in UTC that spills to disk and cannot access files or the network.

    A mapping is a program from somebody else: it can read the day's lines, and nothing else.
    """
    with TemporaryDirectory(prefix="feedback-") as spill, connected(own=True) as connection:
        connection.execute("SET temp_directory = '{}'".format(spill.replace("'", "''")))
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        connection.execute(_EMPTY)
        yield connection


def load_day(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[RawFile],
    *,
    line_limit: int = LINE_LIMIT,
    report: Report,
    take: Callable[[RawFile, pa.Table], pa.Table] = lambda file, lines: lines,
) -> list[FileRead]:
    """Replace the rows of `day_lines` by the lines of `files`, and return what is known of each file.

    `take` gets some of a file's lines at a time, as from `read_texts`, and returns the lines to load.
    """
    connection.execute(_EMPTY)
    reads = []
    ordinal = lines = 0
    for done, file in enumerate(files):
        read = FileRead(file=file)
        for batch in read_texts(read, limit=line_limit):
            rest = take(file, batch)
            if rest.num_rows:
                ordinals = pa.array(np.arange(ordinal, ordinal + rest.num_rows))
                ordinal += rest.num_rows
                connection.register("chunk", rest.append_column("ordinal", ordinals))
                connection.execute(_INSERT, {"file": file.name})
                connection.unregister("chunk")
        if ordinal:
            connection.execute(_DROP_BLANK)
        _check_open_line(connection, read)
        reads.append(read)
        lines += read.lines
        report("reading", done + 1, len(files), "files", lines=lines)
    return reads


def _check_open_line(connection: duckdb.DuckDBPyConnection, read: FileRead) -> None:
    """Set the fault of a last line without a line end: on the line if it was cut off, else on the damaged file only."""
    if read.open_line is None:
        return
    reason = read.damage or "cut off: the file ends inside this line"
    cut = connection.execute(
        """
        UPDATE day_lines SET fault = $reason
        WHERE file = $file AND line = $line AND fault = 'not JSON' AND (starts_with(ltrim(text), '{') OR $damaged)
        RETURNING line
        """,
        {
            "reason": reason,
            "file": read.file.name,
            "line": read.open_line,
            "damaged": read.damage is not None,
        },
    ).fetchall()
    if read.damage is not None and not cut:
        read.file_fault(read.damage)
