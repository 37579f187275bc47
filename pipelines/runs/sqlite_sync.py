"""Dagster's SQLite databases of runs and events, without an fsync at every event."""

from __future__ import annotations

import sqlite3

from sqlalchemy import event
from sqlalchemy.engine import Engine

_OPEN: dict[str, sqlite3.Connection] = {}


def spare_the_disk() -> None:
    """Have this process wait for the disk where its SQLite databases could break otherwise, and nowhere else.

    Dagster opens a connection for every event and closes it. The last one to be closed moves the write-ahead log into
    the database and waits for the disk three times; so one is left open. A commit waits as well; so it does not: when
    the machine crashes the last events may be missing, and the database is whole.
    """
    if not event.contains(Engine, "connect", _prepare):
        event.listen(Engine, "connect", _prepare)


def _prepare(connection: object, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute("PRAGMA synchronous = NORMAL")
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if path and path not in _OPEN and connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        _OPEN[path] = sqlite3.connect(path, check_same_thread=False)
        _OPEN[path].execute("SELECT count(*) FROM sqlite_master").fetchone()  # it is open from its first read on
