"""What is wrong with a desk's settings, in one sentence: which line, which setting, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

_MOVED = {"audit": "its per_class is in the policy's audit section now, and its seed is audit_seed here"}
_Loc = tuple[int | str, ...]


def say_faults(error: ValidationError, text: str, settings: type[BaseModel]) -> str:
    """The first thing that is wrong with the YAML `text`, as ``LINE: what``, and how many more there are.

    A setting that is not known comes first: it may be the one that another fault misses. It is answered with the
    nearest that is known.
    """
    lines = _lines(yaml.compose(text, Loader=yaml.SafeLoader))
    faults = sorted(
        (fault["type"] != "extra_forbidden", _line(lines, fault["loc"]), _say(cast("dict[str, Any]", fault), settings))
        for fault in error.errors()
    )
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    _, line, said = faults[0]
    return f"{line}: {said}{more}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`: did you mean …?` where one of the known names is near, and a list of them otherwise."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"


def _lines(node: yaml.Node | None, loc: _Loc = ()) -> dict[_Loc, int]:
    """Where each setting and each section stands, from 1."""
    if node is None:
        return {loc: 1}
    found = {loc: node.start_mark.line + 1}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        found |= _lines(value, (*loc, str(key.value)))
        found[(*loc, str(key.value))] = key.start_mark.line + 1
    return found


def _line(lines: dict[_Loc, int], loc: _Loc) -> int:
    # What is missing has no line of its own: that of the section that should hold it.
    while loc not in lines:
        loc = loc[:-1]
    return lines[loc]


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
        what = settings.model_fields[where].description if where in settings.model_fields else ""
        return f"{where} is missing" + (f"; give {what}" if what else "")
    if not where:
        return "the file must hold settings by name"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" + ("" if fault["type"] == "value_error" else f"; it is {fault['input']!r}")
