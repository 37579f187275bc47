"""Disk cache of log π by weights and tokens, so that each is computed once.

The key hashes the weights, their precision, the token ids and the start of the completion, but no training settings. So
runs with any β, λ, batch size, LoRA rank or epoch, sweeps and later nights reuse the log-probabilities of the same text
under the same weights.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from kto_core.base.exceptions import TrainingError
from kto_core.base.store import make_folder
from kto_core.data.tokenization import Encoded

KEYS_A_QUERY = 500
WAIT = 60.0  # seconds to wait for another process that writes


class LogpCache:
    """Summed log-probabilities under one set of weights, in one SQLite file for all sets; use as a context manager.

    Args:
        folder: folder of `logps.sqlite`; created if missing. Several processes may share it, also on several machines
            if their file system supports locks: SQLite's rollback journal is used, because its write-ahead log needs
            shared memory.
        weights: hash of the weights.
        precision: precision of the forward pass.

    Raises:
        TrainingError: if the file cannot be opened as a cache; from `get` and `put` if it cannot be read or written.
    """

    def __init__(self, folder: Path, *, weights: str, precision: str) -> None:
        self._identity = f"{weights}\0{precision}\0".encode()
        make_folder(folder)
        self._path = folder / "logps.sqlite"
        with self._explained():
            self._database = sqlite3.connect(self._path, timeout=WAIT)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS logps (key BLOB PRIMARY KEY, logp REAL NOT NULL) WITHOUT ROWID"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def get(self, rows: Sequence[Encoded]) -> list[float | None]:
        """Return the log-probability of each row in nats, None where it is not cached."""
        keys = [self._key(row) for row in rows]
        cached: dict[bytes, float] = {}
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), KEYS_A_QUERY):
            batch = distinct[start : start + KEYS_A_QUERY]
            placeholders = ",".join("?" * len(batch))
            with self._explained():
                cached.update(
                    self._database.execute(f"SELECT key, logp FROM logps WHERE key IN ({placeholders})", batch)
                )
        return [cached.get(key) for key in keys]

    def put(self, rows: Iterable[Encoded], logps: Iterable[float]) -> None:
        """Store log-probabilities, in one transaction."""
        entries = [(self._key(row), logp) for row, logp in zip(rows, logps, strict=True)]
        with self._explained(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", entries)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite errors into sentences; only a damaged file, or one that is not a cache, should be removed."""
        try:
            yield
        except sqlite3.Error as error:
            advice = {
                "SQLITE_NOTADB": "remove it, it will be created again",
                "SQLITE_CORRUPT": "remove it, it will be created again",
                "SQLITE_BUSY": f"another process has been writing for {WAIT:.0f} s; try again when it has ended",
            }.get(getattr(error, "sqlite_errorname", ""), "check that its folder is writable and its disk has space")
            raise TrainingError(f"{self._path} cannot be used as a cache ({error}); {advice}") from error

    def _key(self, row: Encoded) -> bytes:
        return hashlib.sha256(self._identity + row.key()).digest()[:16]
