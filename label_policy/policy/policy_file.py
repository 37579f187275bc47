"""Read policy files: YAML to `Policy`, with file, line and field in every error.

YAML is composed to nodes first, which know their lines, and then turned into values, so an error about a value can give
its line. Anchors and aliases are refused, and with them documents that expand without bound.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from label_policy.exceptions import FieldError, PolicyError
from label_policy.policy.fields import RULE_ID, Label
from label_policy.policy.model import Policy, Rule
from label_policy.policy.sections import Audit, SentText, Training
from label_policy.policy.yaml_lines import Loc, find_lines, line_at, line_of

MAX_BYTES = 256 * 1024
"""The largest policy file; the largest shipped one has about 6 KB."""

_MAX_YAML_DEPTH = 20
_WANTED = {
    "int_type": "a whole number of 1 or more",
    "greater_than_equal": "a whole number of 1 or more",
    "string_type": "text, in quotes if it looks like something else",
    "tuple_type": "a list, as in [one, two]",
    "dict_type": "keys with values, as in {key: value}",
    "model_type": "keys with values, as in {key: value}",
}
"""Expected values in YAML's terms, by pydantic's error types."""


def load_policy(path: str | Path) -> Policy:
    """Read and validate the policy file at `path`.

    Raises:
        PolicyError: it cannot be read, is not YAML, or is not a policy; one sentence with file, line and field.

    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PolicyError(f"{path}: the policy file cannot be read ({reason}); check the path") from None
    if len(content) > MAX_BYTES:
        raise PolicyError(
            f"{path}: the file is larger than {MAX_BYTES // 1024} KiB, too large for a policy; check the path"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path}:{line}: the file is not UTF-8 text; save it as UTF-8") from None
    return parse_policy(text, where=str(path))


def dump_policy(policy: Policy) -> str:
    """Return the policy as YAML that `parse_policy` reads back: the same digest, owner, description and whys."""
    plain = policy.model_dump(mode="json", exclude_defaults=True)
    for rule, written in zip(policy.rules, plain["rules"], strict=True):
        if rule.label is not Label.ABSTAIN:
            written["weight"] = rule.weight  # required in the file, even if it is 0
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def parse_policy(text: str, *, where: str = "policy") -> Policy:
    """Validate a policy from YAML text; `where` is the file name shown in errors.

    Raises:
        PolicyError: as `load_policy`.

    """
    root = _compose(text, where)
    if not isinstance(root, yaml.MappingNode):
        line = line_at(root.start_mark) if root is not None else 1
        raise PolicyError(f"{where}:{line}: a policy is a mapping; start it with 'name:', 'version:' and 'rules:'")
    value = _build(root, where)
    try:
        return Policy.model_validate(value)
    except ValidationError as error:
        problems = _problems(error.errors(include_url=False), find_lines(root), value)
        _, line, message = min(problems)
        more = len(problems) - 1
        also = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        raise PolicyError(f"{where}:{line}: {message}{also}") from None


@lru_cache(maxsize=16)  # a run reads its desk's policy seven times, and YAML takes most of that
def _compose(text: str, where: str) -> yaml.Node | None:
    """Parse YAML to nodes; refuses anchors, aliases and deep nesting before recursive code runs."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            at = f"{where}:{line_at(event.start_mark)}"
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise PolicyError(f"{at}: YAML anchors and aliases are not read in a policy; write the value out")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MAX_YAML_DEPTH:
                raise PolicyError(f"{at}: the YAML nests deeper than {_MAX_YAML_DEPTH} levels; flatten it")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = line_at(error.problem_mark or error.context_mark)
        problem = error.problem or error.context
        raise PolicyError(
            f"{where}:{line}: the YAML cannot be read ({problem}); check indentation, colons and quotes"
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyError(f"{where}:{line}: the file holds a character that YAML does not allow; remove it") from None


def _build(node: yaml.Node, where: str) -> object:
    """Turn a node into plain values; refuses duplicate keys and keys that are not text."""
    if isinstance(node, yaml.SequenceNode):
        return [_build(child, where) for child in node.value]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, where)
    result: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node, where) if isinstance(key_node, yaml.ScalarNode) else None
        line = line_at(key_node.start_mark)
        if not isinstance(key, str):
            raise PolicyError(
                f"{where}:{line}: a key must be a word; put it in quotes if it looks like a number or a date"
            )
        if key in result:
            raise PolicyError(f"{where}:{line}: the key '{key}' appears twice in one place; remove one of them")
        result[key] = _build(value_node, where)
    return result


def _scalar(node: yaml.Node, where: str) -> object:
    try:
        # One scalar node, already composed: the safe constructor gives text, numbers, booleans, dates or None.
        return yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except (yaml.constructor.ConstructorError, ValueError) as error:
        line = line_at(node.start_mark)
        reason = error.problem if isinstance(error, yaml.constructor.ConstructorError) else error
        raise PolicyError(f"{where}:{line}: the value cannot be read ({reason}); put text in quotes") from None


def _problems(errors: list[ErrorDetails], lines: dict[Loc, int], document: object) -> list[tuple[bool, int, str]]:
    """Return (is not an unknown key, line, message) of each problem.

    Unknown keys sort first; a key that was misspelled is not reported as missing.
    """
    unknown = [details["loc"] for details in errors if details["type"] == _UNKNOWN]
    meant = {(*loc[:-1], near) for loc in unknown for near in _near_keys(loc)}
    return [
        (details["type"] != _UNKNOWN, *_problem(details, lines, document))
        for details in errors
        if details["type"] != "missing" or details["loc"] not in meant
    ]


_UNKNOWN = "extra_forbidden"
_SECTIONS: dict[str, type[BaseModel]] = {"rules": Rule, "sent_text": SentText, "audit": Audit, "training": Training}


def _keys_beside(loc: Loc) -> list[str]:
    """Return the valid keys in the section of the key at `loc`."""
    section: type[BaseModel] = _SECTIONS[str(loc[0])] if len(loc) > 1 else Policy
    return [*section.model_fields]


def _near_keys(loc: Loc) -> list[str]:
    return get_close_matches(str(loc[-1]), _keys_beside(loc), n=1, cutoff=0.75)


def _problem(details: ErrorDetails, lines: dict[Loc, int], document: object) -> tuple[int, str]:
    """Return line and message of one of pydantic's errors about `document`."""
    loc = tuple(part for part in details["loc"] if part != "[key]")
    original = details.get("ctx", {}).get("error")
    kind = details["type"]
    if isinstance(original, FieldError):
        loc = (*loc, *original.loc)
    if isinstance(original, PolicyError):
        message = str(original)
    elif kind == _UNKNOWN:
        near = _near_keys(loc)
        advice = f"did you mean '{near[0]}'?" if near else f"the keys here are {', '.join(_keys_beside(loc))}"
        message = f"this key is not known; {advice}"
    elif kind == "missing":
        message = "this key is missing; add it"
    elif kind == "string_pattern_mismatch":
        join = "_" if "_" in details["ctx"]["pattern"] else "-"
        message = (
            f"'{details['input']}' is not a valid name; use lower-case letters, digits and {join}, at most 64, "
            "starting with a letter"
        )
    elif kind in _WANTED:
        message = f"this must be {_WANTED[kind]}; it is {_shown(details['input'])}"
    elif kind == "string_too_short":
        message = "this text is empty; write a sentence"
    else:
        message = f"{details['msg'][:1].lower()}{details['msg'][1:]}; it is {_shown(details['input'])}"
    return line_of(lines, loc), f"{_place(loc, document)}: {message}"


def _place(loc: Loc, document: object) -> str:
    """Return a place in the reader's terms: ``rule 'thumbs_down': when``, ``rule 2: id``, ``training.tiers[0]``."""
    match loc, document:
        case ["rules", int(index), *inner], {"rules": [*rules]}:
            match rules[index]:
                case {"id": str(name)} if inner != ["id"] and re.fullmatch(RULE_ID, name):
                    rule = f"rule '{name}'"
                case _:
                    rule = f"rule {index + 1}"
            return f"{rule}: {_field(inner)}" if inner else rule
    return _field(loc) or "policy"


def _field(loc: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
