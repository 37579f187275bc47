"""What `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date

import click


def print_json(object_: Mapping[str, object]) -> None:
    """Print one JSON object on a line of stdout, times in ISO, in ASCII: texts of unknown origin may be in it."""
    click.echo(json.dumps(object_, default=_plain))


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
