"""Run a policy in Polars: the labels of `compile_policy`, without a SQL engine.

The expressions are built from each condition's `meaning`, the canonical form that the digest hashes. So policies with
one digest give equal labels here by construction, and tests hold these labels to those of SQL.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import polars as pl

from label_policy.conditions.grammar import Canonical
from label_policy.engines.dialects import MAX_JSON_NUMBER
from label_policy.exceptions import PolicyError
from label_policy.policy.fields import Label
from label_policy.policy.model import NO_RULE, Policy
from label_policy.policy.sections import SENT_TEXT
from label_policy.schema.blank_text import WHITE_SPACE
from label_policy.schema.columns import DECISION_SIGNALS, SECONDS_TO_READ

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def label_with_polars(frame: Frame, policy: Policy) -> Frame:
    """Label every row of a frame of interactions.

    Args:
        frame: has the columns of `INTERACTION_COLUMNS` that the policy reads, ``shown_at`` and those of
            `DECISION_SIGNALS`: text as String, numbers as Float64, times as Datetime("us", "UTC"), ``reasons`` as
            List(String). A lazy frame stays lazy.
        policy: the policy.

    Returns:
        The frame with ``rule``, ``label``, ``tier``, ``weight`` and ``matures_at``, as in `compile_policy`.

    Raises:
        polars.exceptions.PolarsError: a column is missing or of another type.

    """
    choice = pl.lit(NO_RULE)
    for rule in reversed(policy.rules):
        choice = pl.when(_holds(rule.condition.meaning, policy)).then(pl.lit(rule.id)).otherwise(choice)
    labelled = frame.with_columns(choice.alias("rule"))
    of_rule = pl.col("rule").replace_strict
    labels = {rule.id: str(rule.label) for rule in policy.rules}
    tiers = {rule.id: rule.tier and str(rule.tier) for rule in policy.rules}
    weights = {rule.id: rule.weight for rule in policy.rules}
    return labelled.with_columns(
        of_rule(labels, default=str(Label.ABSTAIN), return_dtype=pl.String).alias("label"),
        of_rule(tiers, default=None, return_dtype=pl.String).alias("tier"),
        of_rule(weights, default=0.0, return_dtype=pl.Float64).alias("weight"),
        _matures_at(policy).alias("matures_at"),
    )


def sent_texts_with_polars(frame: Frame, policy: Policy) -> Frame:
    """Return the edited drafts whose final text becomes a row of its own, as `compile_sent_texts` does.

    Args:
        frame: as in `label_with_polars`; has ``final_text`` and ``completion`` too.
        policy: a policy with a ``sent_text`` section.

    Raises:
        PolicyError: the policy has no such section.

    """
    section = policy.sent_text
    if section is None:
        raise PolicyError(f"policy {policy.id} has no sent_text section; add one to train on what agents sent")
    sent = pl.all_horizontal([_holds(condition.meaning, policy) for condition in section.conditions])
    return frame.filter(sent).with_columns(
        pl.lit(SENT_TEXT).alias("rule"),
        pl.lit(str(Label.DESIRABLE)).alias("label"),
        pl.lit(str(section.tier)).alias("tier"),
        pl.lit(section.weight, pl.Float64).alias("weight"),
        _after_windows(policy.maturity, section.signals).alias("matures_at"),
    )


def _matures_at(policy: Policy) -> pl.Expr:
    """Return the time from which no awaited signal can change the label; see the SQL compiler."""
    read: set[str] = set()
    waits: dict[frozenset[str], list[str]] = {}
    for rule in policy.rules:
        read |= rule.condition.signals
        waits.setdefault(frozenset(read & policy.maturity.keys()), []).append(rule.id)
    final = _after_windows(policy.maturity, read)
    for signals, rules in waits.items():
        awaited = _after_windows(policy.maturity, signals)
        final = pl.when(pl.col("rule").is_in(rules)).then(awaited).otherwise(final)
    return final


def _after_windows(windows: dict[str, timedelta], read: Iterable[str]) -> pl.Expr:
    shown = pl.col("shown_at")
    decided = pl.max_horizontal([pl.coalesce(f"{signal}_at", shown) for signal in DECISION_SIGNALS])
    final = decided
    # Shortest first, so that the longest open window is tested first.
    for signal in sorted(windows.keys() & set(read), key=lambda name: windows[name]):
        happened = pl.col(f"{signal}_at")
        to_come = happened.is_null() | (happened < decided)
        final = pl.when(to_come).then(decided + windows[signal]).otherwise(final)
    return final


def _holds(meaning: Canonical, policy: Policy) -> pl.Expr:
    if policy.reading_speed is not None:
        meaning = _with_reading_speed(meaning, policy.reading_speed)
    return _expression(meaning)


def _with_reading_speed(meaning: Canonical, speed: float) -> Canonical:
    if meaning == ["column", SECONDS_TO_READ]:
        return ["/", ["length", ["column", "completion"]], ["number", speed]]
    return [_with_reading_speed(part, speed) for part in meaning] if isinstance(meaning, list) else meaning


_OPERATORS: dict[str, Callable[..., pl.Expr]] = {
    "and": lambda *operands: pl.all_horizontal(operands),
    "or": lambda *operands: pl.any_horizontal(operands),
    "not": lambda operand: ~operand,
    "=": pl.Expr.eq,
    "<>": pl.Expr.ne,
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
    "is not distinct from": pl.Expr.eq_missing,
    "is distinct from": pl.Expr.ne_missing,
    "between": pl.Expr.is_between,
    "+": pl.Expr.add,
    "-": pl.Expr.sub,
    "*": pl.Expr.mul,
    "neg": pl.Expr.neg,
    "abs": pl.Expr.abs,
    "lower": lambda text: _lower(text),
    "length": lambda text: text.str.len_chars().cast(pl.Float64),
    "trim": lambda text: text.str.strip_chars(WHITE_SPACE),
    "starts_with": lambda text, start: text.str.starts_with(start),
    "list_contains": lambda texts, text: texts.list.contains(text).fill_null(False),
}
"""Operators whose arguments are all operands, by canonical name."""


def _expression(meaning: Canonical) -> pl.Expr:
    """Return a canonical condition, or a part of one, as an expression over an interaction's columns."""
    match meaning:
        case ["column", str(name)]:
            return pl.col(name)
        case ["text" | "number" | "boolean" | "time" | "interval", _]:
            return pl.lit(_literal(meaning))
        case ["null"]:
            return pl.lit(None)
        case ["is", operand, ["null"]]:
            return _expression(operand).is_null()
        case ["in", operand, [*members]]:
            return _expression(operand).is_in([_literal(member) for member in members])
        case ["like", text, ["text", str(pattern)]]:
            return _expression(text).str.contains(_like(pattern))
        case ["ilike", text, ["text", str(pattern)]]:
            [lowered] = pl.select(_lower(pl.lit(pattern))).to_series()
            return _lower(_expression(text)).str.contains(_like(lowered))
        case ["/", dividend, ["number", float(divisor)]]:
            # Divide by a column of the divisor: Polars multiplies by the inverse of a literal, which is off by a bit
            # for a third of all numbers.
            return _expression(dividend) / (pl.int_range(pl.len()).cast(pl.Float64) * 0 + divisor)
        case ["coalesce", first, [*others]]:
            return pl.coalesce(_expression(first), *map(_expression, others))
        case ["case", operand, [*branches], default]:
            return _case(operand, branches, default)
        case ["json_extract_string", column, str(path)]:
            read = partial(_json_texts, keys=path.split(".")[1:])
            return _expression(column).map_batches(read, return_dtype=pl.String, is_elementwise=True)
        case [str(name), *operands]:
            return _OPERATORS[name](*map(_expression, operands))
    raise ValueError(f"no canonical form: {meaning}")


def _literal(meaning: Canonical) -> str | float | bool | datetime | timedelta:
    match meaning:
        case ["time", str(moment)]:
            return datetime.fromisoformat(moment)
        case ["interval", float(seconds)]:
            return timedelta(seconds=seconds)
        case ["text" | "number" | "boolean", str() | float() | bool() as value]:
            return value
    raise ValueError(f"no literal: {meaning}")


def _case(operand: Canonical, branches: list[Canonical], default: Canonical) -> pl.Expr:
    choice = pl.lit(None) if default is None else _expression(default)
    for branch in reversed(branches):
        match branch:
            case ["when", test, result]:
                holds = _expression(test) if operand is None else _expression(operand).eq(_expression(test))
                choice = pl.when(holds).then(_expression(result)).otherwise(choice)
    return choice


def _lower(text: pl.Expr) -> pl.Expr:
    # Letter by letter, as in SQL: Polars alone would lower one letter to two, and treat word ends differently.
    return text.str.replace_many(["İ", "Σ"], ["i", "σ"]).str.to_lowercase()


def _like(pattern: str) -> str:
    wildcards = {"%": ".*", "_": "."}
    return r"(?s)\A" + "".join(wildcards.get(mark) or pl.escape_regex(mark) for mark in pattern) + r"\z"


def _json_texts(texts: pl.Series, keys: list[str]) -> pl.Series:
    return pl.Series([_json_text(text, keys) for text in texts], dtype=pl.String)


def _json_text(text: str | None, keys: list[str]) -> str | None:
    """Return the value at the path of `keys` as text: text, a truth value or a whole number that is not too long."""
    if text is None:
        return None
    try:
        value = _JSON.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is not text
    except (ValueError, RecursionError):
        return None
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


_JSON = json.JSONDecoder(
    parse_int=lambda digits: int(digits) if len(digits) <= MAX_JSON_NUMBER else None,
    parse_float=lambda _: None,
    parse_constant=lambda _: None,
    object_pairs_hook=lambda pairs: dict(reversed(pairs)),  # the first of two equal keys counts, as in DuckDB
)
