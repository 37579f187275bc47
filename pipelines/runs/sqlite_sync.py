"""Dagster's SQLite databases of runs and events, without an fsync at every event."""

from __future__ import annotations

import sqlite3

from sqlalchemy import event
from sqlalchemy.engine import Engine

_OPEN: dict[str, sqlite3.Connection] = {}


def spare_the_disk() -> None:
    """Let this process's commits to SQLite databases with a write-ahead log (WAL) not wait for the disk.

    Dagster opens a connection for every event and closes it. Closing the last connection moves the log into the
    database and waits for the disk three times, so one connection stays open. A commit waits as well, unless
    `synchronous` is NORMAL. With WAL a crash of the machine can then lose the last events and cannot harm the database
    (SQLite's documentation of `PRAGMA synchronous`). Databases without WAL keep their setting.
    """
    if not event.contains(Engine, "connect", _prepare):
        event.listen(Engine, "connect", _prepare)


def _prepare(connection: object, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        return
    connection.execute("PRAGMA synchronous = NORMAL")
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if path and path not in _OPEN:
        _OPEN[path] = sqlite3.connect(path, check_same_thread=False)
        _OPEN[path].execute("SELECT count(*) FROM sqlite_master").fetchone()  # it is open from its first read on
