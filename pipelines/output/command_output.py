"""Print JSON, and name commands in messages so that they can be typed as they stand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import date
from pathlib import Path

import click

_COMMAND = re.compile(r"(?<=`)feedback-kto (?!--home)|^  feedback-kto (?=\w)")
_HOME = ContextVar[Path | None]("home", default=None)


def say_home(home: Path | None) -> None:
    """Name commands with this `--home` from now on; None where the running command has none."""
    _HOME.set(home)


def commands(text: str) -> str:
    """Return a text whose commands have the `--home` of the running command, and can be typed as they stand."""
    home = _HOME.get()
    return text if home is None else _COMMAND.sub(lambda command: f"{command[0]}--home {shlex.quote(str(home))} ", text)


def print_json(object_: Mapping[str, object]) -> None:
    """Print one JSON object on a line of stdout, with ISO times, in ASCII since it may hold texts of unknown origin."""
    click.echo(json.dumps(object_, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
