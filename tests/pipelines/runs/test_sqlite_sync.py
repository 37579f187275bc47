"""Dagster's databases: what is written is there for other processes at once, and waits for the disk seldom."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Writes as Dagster does: a connection for every event.
WRITER = """
import sys
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool
from pipelines.runs.sqlite_sync import spare_the_disk

_, path, mode, how = sys.argv
if how == "spared":
    spare_the_disk()
    spare_the_disk()  # twice is once
engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
with engine.begin() as connection:
    connection.execute(text(f"PRAGMA journal_mode = {mode}"))
    connection.execute(text("CREATE TABLE events (n INTEGER)"))
for n in range(20):
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO events VALUES ({n})"))
        synchronous = connection.execute(text("PRAGMA synchronous")).scalar()
print(synchronous, flush=True)
sys.stdin.read()
"""


def writer(path: Path, mode: str, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), mode, how],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "how", "synchronous", "kept_open"),
    [("wal", "spared", "1", True), ("wal", "as it is", "2", False), ("delete", "spared", "2", False)],
)
def test_events_are_there_for_others_and_the_log_is_moved_at_the_end(
    tmp_path: Path, mode: str, how: str, synchronous: str, kept_open: bool
) -> None:
    path = tmp_path / "history.db"
    process = writer(path, mode, how)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline().strip() == synchronous
    log = path.with_name("history.db-wal")
    assert log.exists() is kept_open
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM events").fetchone() == (20,)
    reader.close()
    process.stdin.close()
    assert process.wait(60) == 0
    assert not log.exists()


def test_killed_it_leaves_all_events(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    process = writer(path, "wal", "spared")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    assert sqlite3.connect(path).execute("SELECT count(*), max(n) FROM events").fetchone() == (20, 19)
