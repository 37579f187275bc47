"""Where the `feedback-kto` command starts: before its imports, which take a second or two, can be interrupted.

Ctrl-C (SIGINT) and SIGTERM, which services are stopped with, are the same to it: the run that it follows is stopped,
and a sentence says what becomes of it.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


def main() -> None:
    """Load the command and run it on the process's arguments."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        from pipelines.cli.main import main as command
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("feedback-kto: interrupted before anything was begun.\n")
        sys.exit(exit_code(interrupt))
    command()


def exit_code(interrupt: BaseException | None) -> int:
    """128 and the signal's number, as a shell has it."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
