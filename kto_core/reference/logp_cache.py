"""log π of given weights on given tokens, computed once and kept on disk.

The key hashes the weights, the precision they ran in, the token ids and where the completion starts: nothing of the
training. Any β, λ, batch size, LoRA rank, epoch, sweep or later night that meets the same text under the same weights
reads it here.
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
WAIT = 60.0  # seconds for another process to finish what it writes


class LogpCache:
    """Summed log-probabilities under one set of weights, in one SQLite file for all sets; use as a context manager.

    Args:
        folder: where `logps.sqlite` lies; made if missing. Several processes may share it, on several machines too if
            their file system keeps locks: SQLite's rollback journal is used, since its write-ahead log would need
            memory that they share.
        weights: hash of the weights.
        precision: what they compute in.

    Raises:
        TrainingError: if the file cannot be opened as such a cache; `get` and `put` if it cannot be read or written.
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
        """The log-probability of each row in nats, None where it was never computed."""
        keys = [self._key(row) for row in rows]
        found: dict[bytes, float] = {}
        distinct = list(dict.fromkeys(keys))
        for at in range(0, len(distinct), KEYS_A_QUERY):
            some = distinct[at : at + KEYS_A_QUERY]
            marks = ",".join("?" * len(some))
            with self._explained():
                found.update(self._database.execute(f"SELECT key, logp FROM logps WHERE key IN ({marks})", some))
        return [found.get(key) for key in keys]

    def put(self, rows: Iterable[Encoded], logps: Iterable[float]) -> None:
        """Keep log-probabilities, in one transaction."""
        entries = [(self._key(row), logp) for row, logp in zip(rows, logps, strict=True)]
        with self._explained(), self._database:
            self._database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", entries)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in a sentence what SQLite refuses; only a file that is no cache, or is damaged, is to be removed."""
        try:
            yield
        except sqlite3.Error as error:
            advice = {
                "SQLITE_NOTADB": "remove it, it will be made anew",
                "SQLITE_CORRUPT": "remove it, it will be made anew",
                "SQLITE_BUSY": f"another process has been writing for {WAIT:.0f} s; try again when it has ended",
            }.get(getattr(error, "sqlite_errorname", ""), "see that its folder can be written and its disk has room")
            raise TrainingError(f"{self._path} cannot be used as a cache ({error}); {advice}") from error

    def _key(self, row: Encoded) -> bytes:
        return hashlib.sha256(self._identity + row.key()).digest()[:16]
