"""The worker's messages, read from the file that it appends them to while it runs.

Dagster's own `PipesFileMessageReader` takes a part of a line for the whole line. A file system shows a write in parts:
at the border of a page (8 of 40,000 lines of 200 bytes on ext4), and over a network more often. The reader then stopped
at half a message and lost all that followed, the outcome too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import dagster as dg
from dagster_pipes import PipesDefaultMessageWriter, PipesParams

_SECONDS_BETWEEN_LOOKS = 0.05


class MessageFile(dg.PipesMessageReader):
    """A file of messages, one per line; every complete line is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[PipesParams]:
        """Hand the messages on as they come; an error in one is raised once the worker has ended."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(b"")  # an earlier try of this step may have left some
        ended = Event()

        def read() -> None:
            for line in _lines(self._path, ended):
                handler.handle_message(json.loads(line))

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            try:
                yield {PipesDefaultMessageWriter.FILE_PATH_KEY: str(self._path)}
            finally:
                ended.set()
                reading.result()
        self._path.unlink()

    def no_messages_debug_text(self) -> str:
        """Return where messages were expected."""
        return f"Messages were expected in the file {self._path}."


def _lines(path: Path, ended: Event) -> Iterator[bytes]:
    """Yield the lines appended to a file until its writer has ended; an unfinished line is left out."""
    rest = b""
    with path.open("rb") as file:
        while True:
            last = ended.is_set()  # checked before reading: all that was written by then is read
            *lines, rest = (rest + file.read()).split(b"\n")
            yield from lines
            if last:
                return
            ended.wait(_SECONDS_BETWEEN_LOOKS)
