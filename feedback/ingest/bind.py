"""Turn a source's SQL text into the view `mapping` over the view `lines`, or say in one sentence where it is wrong."""

from __future__ import annotations

import re
from datetime import date

import duckdb

from feedback.exceptions import SourceError
from feedback.ingest.event_checks import check_columns
from feedback.sources.source import Source

_POSITION = re.compile(r"^LINE (?P<line>\d+): (?P<text>.*)\n(?P<before> *)\^", re.MULTILINE)


def show_lines(connection: duckdb.DuckDBPyConnection, arrival_date: date, where: str = "true") -> None:
    """Create the view `lines`, which the mapping reads, of the day's lines without a fault that satisfy `where`."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW lines AS
        SELECT file, line, DATE '{arrival_date}' AS arrival_date, row
        FROM day_lines WHERE fault IS NULL AND {where}
        """
    )


def bind(connection: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """Create the view `mapping` over `lines`, of any day; return the mapping's columns, name to DuckDB type.

    Raises:
        SourceError: the SQL is not one SELECT, does not bind, or returns columns that events do not have.
    """
    show_lines(connection, date(2000, 1, 1))
    select = _one_select(connection, source)
    try:
        connection.execute(f"CREATE TEMP VIEW mapping AS\n{select}")
    except duckdb.Error as error:
        raise SourceError(_describe(source, error, lines_above=1)) from error
    described = connection.execute("DESCRIBE mapping").fetchall()
    columns = {name: type for name, type, *_ in described}
    check_columns(source, columns)
    return columns


def _describe(source: Source, error: duckdb.Error, *, lines_above: int = 0) -> str:
    """Return DuckDB's error as one sentence with the place in the SQL file."""
    message = str(error)
    what, *more = (line.strip() for line in message.splitlines() if line.strip())
    hint = next((f" ({line.rstrip('?')}?)" for line in more if line.startswith("Did you mean")), "")
    if "Referenced column" in what:
        hint += "; put text in 'single quotes', and write a key of the line as row ->> 'key'"
    what = re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", what).rstrip(".!")
    place = f"Source {source.path}"
    if match := _POSITION.search(message):
        place += f", line {int(match['line']) - lines_above}"
        if not match["text"].startswith("..."):  # else DuckDB shows a part of the line and counts columns in that part
            column = len(match["before"]) - len(f"LINE {match['line']}: ") + 1
            place += f", column {column}"
    return f"{place}: {what}{hint}."


def _one_select(connection: duckdb.DuckDBPyConnection, source: Source) -> str:
    """Return the SQL up to its closing semicolon, if it is one SELECT."""
    sql = source.sql
    try:
        kinds = [statement.type for statement in connection.extract_statements(sql)]
    except duckdb.Error as error:
        raise SourceError(_describe(source, error)) from error
    if len(kinds) != 1 or kinds[0] != duckdb.StatementType.SELECT:
        statements = ", ".join(kind.name for kind in kinds) or "nothing"
        raise SourceError(f"Source {source.path} must be one SELECT over lines, and holds {statements}.")
    utf8 = sql.encode()  # the tokens' positions are in bytes
    operators = (at for at, kind in duckdb.tokenize(sql) if kind == duckdb.token_type.operator)
    end = next((at for at in operators if utf8[at : at + 1] == b";"), len(utf8))
    return utf8[:end].decode()
