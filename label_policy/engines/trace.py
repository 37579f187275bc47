"""Trace the label of one interaction: the result of every rule's condition, part by part.

The parts of a condition are joined by its outermost ANDs (or ORs). Each keeps the author's spelling and is evaluated
separately.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import duckdb
import sqlglot
from sqlglot import Token, TokenType

from label_policy.conditions.condition import parse_condition
from label_policy.engines.compiler import condition_tree
from label_policy.exceptions import PolicyError
from label_policy.policy.model import Policy
from label_policy.policy.sections import SENT, SENT_TEXT


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a condition: its text, and whether it holds (None: unknown, which counts as false)."""

    text: str
    holds: bool | None


@dataclass(frozen=True, kw_only=True)
class RuleTrace:
    """The result of one rule on an interaction.

    Attributes:
        rule: its id.
        outcome: ``decides``; ``false`` or ``unknown`` if it was tried and does not hold; ``not reached`` after the
            deciding rule.
        holds: value of its condition, reached or not; None if unknown (NULL).
        joined: operator that joins its parts; None with a single part.
        parts: its parts in the order of the text.

    """

    rule: str
    outcome: Literal["decides", "false", "unknown", "not reached"]
    holds: bool | None
    joined: Literal["AND", "OR"] | None
    parts: tuple[Part, ...]


def trace_rules(connection: duckdb.DuckDBPyConnection, policy: Policy, *, relation: str) -> list[RuleTrace]:
    """Return the result of every rule of `policy`, in order, on the one row of `relation`.

    Args:
        connection: sees the relation.
        policy: the policy.
        relation: the name of a table or view of one row with the columns of `INTERACTION_COLUMNS`.

    """
    split = [split_condition(rule.when) for rule in policy.rules]
    texts = [[rule.when, *parts] for rule, (_, parts) in zip(policy.rules, split, strict=True)]
    values = iter(_evaluate(connection, policy, [text for group in texts for text in group], relation))
    traces: list[RuleTrace] = []
    decided = False
    for rule, (joined, parts) in zip(policy.rules, split, strict=True):
        holds = next(values)
        outcome = "not reached" if decided else _OUTCOMES[holds]
        decided = decided or bool(holds)
        traces.append(
            RuleTrace(
                rule=rule.id,
                outcome=outcome,
                holds=holds,
                joined=joined,
                parts=tuple(Part(text=_plain(part), holds=next(values)) for part in parts),
            )
        )
    return traces


def trace_sent_text(connection: duckdb.DuckDBPyConnection, policy: Policy, *, relation: str) -> RuleTrace:
    """Trace whether the one row of `relation`, a draft, gives a row of the text sent instead.

    Raises:
        PolicyError: the policy has no ``sent_text`` section.

    """
    if policy.sent_text is None:
        raise PolicyError(f"policy {policy.id} has no sent_text section; add one to train on what agents sent")
    joined, parts = split_condition(policy.sent_text.when)
    texts = [*SENT, *(parts if joined == "AND" else [policy.sent_text.when])]
    values = _evaluate(connection, policy, texts, relation)
    holds = False if False in values else None if None in values else True
    return RuleTrace(
        rule=SENT_TEXT,
        outcome=_OUTCOMES[holds],
        holds=holds,
        joined="AND",
        parts=tuple(Part(text=_plain(text), holds=value) for text, value in zip(texts, values, strict=True)),
    )


_OUTCOMES: dict[bool | None, Literal["decides", "false", "unknown"]] = {
    True: "decides",
    False: "false",
    None: "unknown",
}


def awaited_windows(policy: Policy, rule: str) -> dict[str, timedelta]:
    """Return the signals that a label decided by `rule` waits for, with their windows from the last decision on.

    These are the signals with a window that the rule or an earlier one reads: see `compile_policy`.
    """
    read: set[str] = set()
    if rule == SENT_TEXT and policy.sent_text is not None:
        read |= policy.sent_text.signals
    else:
        for other in policy.rules:
            read |= other.condition.signals
            if other.id == rule:
                break
    return {signal: window for signal, window in policy.maturity.items() if signal in read}


def split_condition(text: str) -> tuple[Literal["AND", "OR"] | None, list[str]]:
    """Return the operator that joins the outermost parts of a valid condition (None: one part), and the parts' text.

    >>> split_condition("edited_at IS NOT NULL AND (edit_kind = 'factual' OR edit_similarity < 0.6)")
    ('AND', ['edited_at IS NOT NULL', "(edit_kind = 'factual' OR edit_similarity < 0.6)"])
    """
    joints = list(_joints(sqlglot.tokenize(text, dialect="duckdb")))
    kinds = {token.token_type for token in joints}
    # OR binds less tightly than AND, so ORs are outermost if there are any.
    outer = TokenType.OR if TokenType.OR in kinds else TokenType.AND
    parts, start = [], 0
    for token in joints:
        if token.token_type is outer:
            parts.append(text[start : token.start].strip())
            start = token.end + 1
    parts.append(text[start:].strip())
    if len(parts) == 1:
        return None, parts
    return ("OR" if outer is TokenType.OR else "AND"), parts


def _joints(tokens: list[Token]) -> Iterator[Token]:
    """Yield the ANDs and ORs outside of parentheses and CASE; the AND of a BETWEEN joins nothing."""
    depth = between = 0
    for token in tokens:
        kind = token.token_type
        if kind in (TokenType.L_PAREN, TokenType.CASE):
            depth += 1
        elif kind in (TokenType.R_PAREN, TokenType.END):
            depth -= 1
        elif depth == 0 and kind is TokenType.BETWEEN:
            between += 1
        elif depth == 0 and kind is TokenType.AND and between:
            between -= 1
        elif depth == 0 and kind in (TokenType.AND, TokenType.OR):
            yield token


def _plain(text: str) -> str:
    """Return the text on one line."""
    return " ".join(text.split())


def _evaluate(
    connection: duckdb.DuckDBPyConnection, policy: Policy, texts: list[str], relation: str
) -> list[bool | None]:
    trees = ", ".join(condition_tree(policy, parse_condition(text)).sql(dialect="duckdb") for text in texts)
    [row] = connection.execute(f"SELECT {trees} FROM {relation}").fetchall()
    return list(row)
