"""log π of given weights on given tokens, computed once and kept on disk.

The key hashes the weights, the precision they ran in, the token ids and where the completion starts: nothing of the
training. Any β, λ, batch size, LoRA rank, epoch, sweep or later night that meets the same text under the same weights
reads it here.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from kto_core.exceptions import TrainingError
from kto_core.tokenization import Encoded

KEYS_A_QUERY = 500


class LogpCache:
    """Summed log-probabilities under one set of weights, in one SQLite file for all sets; use as a context manager.

    Args:
        folder: where `logps.sqlite` lies; made if missing. Several processes may share it.
        weights: hash of the weights.
        precision: what they compute in.

    Raises:
        TrainingError: if the file cannot be opened as such a cache.
    """

    def __init__(self, folder: Path, *, weights: str, precision: str) -> None:
        self._identity = f"{weights}\0{precision}\0".encode()
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "logps.sqlite"
        try:
            self._database = sqlite3.connect(self._path, timeout=60)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS logps (key BLOB PRIMARY KEY, logp REAL NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise TrainingError(
                f"{self._path} cannot be used as a cache ({error}); remove it, it will be made anew"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def get(self, rows: Sequence[Encoded]) -> list[float | None]:
        """The log-probability of each row in nats, None where it was never computed."""
        keys = [self._key(row) for row in rows]
        found: dict[bytes, float] = {}
        distinct = list(dict.fromkeys(keys))
        for at in range(0, len(distinct), KEYS_A_QUERY):
            some = distinct[at : at + KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            found.update(self._database.execute(f"SELECT key, logp FROM logps WHERE key IN ({marks})", some))
        return [found.get(key) for key in keys]

    def put(self, rows: Iterable[Encoded], logps: Iterable[float]) -> None:
        """Keep log-probabilities, in one transaction."""
        entries = [(self._key(row), logp) for row, logp in zip(rows, logps, strict=True)]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", entries)

    def _key(self, row: Encoded) -> bytes:
        return hashlib.sha256(self._identity + row.key()).digest()[:16]
