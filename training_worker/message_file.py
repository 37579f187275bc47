"""The worker's messages, read from the file that it appends them to while it runs.

Dagster's own `PipesFileMessageReader` takes what there is of a line for the whole line. A file system shows a write in
parts, at the border of a page already (8 of 40,000 lines of 200 bytes on ext4) and over a network sooner: the reader
then stopped at half a message, and with it all that followed was lost, the outcome too.
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
    """A file of messages, a line each, of which every line that has its end is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[PipesParams]:
        """Hand the messages on as they come; what goes wrong with one is raised once the worker has ended."""
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
        """Where messages were looked for."""
        return f"Messages were to come in the file {self._path}."


def _lines(path: Path, ended: Event) -> Iterator[bytes]:
    """The lines appended to a file until whoever writes it has ended; one that it did not finish is left out."""
    rest = b""
    with path.open("rb") as file:
        while True:
            last = ended.is_set()  # asked before reading: all that was written by then is read
            *lines, rest = (rest + file.read()).split(b"\n")
            yield from lines
            if last:
                return
            ended.wait(_SECONDS_BETWEEN_LOOKS)
