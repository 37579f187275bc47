"""Name the faults of a desk's settings in one sentence: which line, which setting, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from label_policy.policy.yaml_lines import find_lines, line_of

_MOVED = {"audit": "its per_class is in the policy's audit section now, and its seed is audit_seed here"}


def say_faults(error: ValidationError, text: str, settings: type[BaseModel]) -> str:
    """Return the first fault of the YAML `text`, as ``LINE: message``, and the number of further ones.

    An unknown setting comes first: it may be the one that another fault misses. The message names the nearest known
    one.
    """
    lines = find_lines(yaml.compose(text, Loader=yaml.SafeLoader))
    faults = sorted(
        (
            fault["type"] != "extra_forbidden",
            line_of(lines, fault["loc"]),
            _say(cast("dict[str, Any]", fault), settings),
        )
        for fault in error.errors()
    )
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    _, line, message = faults[0]
    return f"{line}: {message}{more}"


def did_you_mean(name: str, names: Collection[str]) -> str:
    """Return `did you mean …?` where one of the names is near, and a list of them otherwise."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"


def _say(fault: dict[str, Any], settings: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        if where in _MOVED:
            return f"{where} is no setting any more; {_MOVED[where]}"
        section = settings
        for part in fault["loc"][:-1]:
            section = cast("type[BaseModel]", section.model_fields[str(part)].annotation)
        return f"{where} is no setting; {did_you_mean(str(fault['loc'][-1]), section.model_fields)}"
    if fault["type"] == "missing":
        description = settings.model_fields[where].description if where in settings.model_fields else ""
        return f"{where} is missing" + (f"; give {description}" if description else "")
    if not where:
        return "the file must hold settings by name"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" + ("" if fault["type"] == "value_error" else f"; it is {fault['input']!r}")
