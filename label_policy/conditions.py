"""A rule's condition: SQL text in, a checked tree out, with the columns and signals it reads.

Order matters for safety: `check_text` bounds the text before the recursive parser runs; the parser is asked for one
expression, so that statements are not even recognised; then every node must be on the allow-list and well typed.
"""

from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp

from label_policy.columns import COLUMN_SIGNALS, ValueType
from label_policy.exceptions import PolicyError
from label_policy.grammar import Canonical, canonical, moment_value, span_literal, span_value
from label_policy.lexical import check_text
from label_policy.typecheck import check_condition, type_of

_MAX_DEPTH = 100
"""The deepest tree, AND and OR chains apart: `1 + 1 + … + 1` nests without a parenthesis."""

_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg)


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition that has passed every check.

    Attributes:
        text: the SQL as the policy's author wrote it.
        tree: the same in a form that gives the same rows in every dialect; copy it before building it into a query.
        meaning: the canonical form, equal for two conditions that differ in spelling only.
        columns: the interaction columns it reads.
        signals: the signals that can change its value.

    """

    text: str
    tree: exp.Expr
    meaning: Canonical
    columns: frozenset[str]
    signals: frozenset[str]


@lru_cache(maxsize=1024)
def parse_condition(text: str) -> Condition:
    """Parse and check one condition, in DuckDB's SQL over `INTERACTION_COLUMNS`.

    Raises:
        PolicyError: it is not one boolean expression within the allow-list, is badly typed, or is beyond the bounds.

    """
    check_text(text)
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb", into=exp.Condition)
    except sqlglot.errors.ParseError as error:
        raise PolicyError(_parse_message(error)) from None
    except sqlglot.errors.TokenError as error:
        raise PolicyError(f"the condition is not SQL: {error}; check its quotes and numbers") from None
    _check_depth(tree)
    check_condition(tree)
    columns = frozenset(column.name.lower() for column in tree.find_all(exp.Column))
    signals = frozenset(signal for column in columns for signal in COLUMN_SIGNALS.get(column, ()))
    return Condition(text, _portable(tree), canonical(tree), columns, signals)


def _parse_message(error: sqlglot.errors.ParseError) -> str:
    details = error.errors[0] if error.errors else {}
    near = str(details.get("highlight") or "").strip()
    where = f" near '{near[:40]}' (line {details.get('line')}, column {details.get('col')})" if near else ""
    return f"the condition is not one SQL expression{where}; write a single comparison or several joined by AND and OR"


def _check_depth(tree: exp.Expr) -> None:
    """Bound the tree's depth without recursion, so that the recursive passes after this one are safe."""
    pending: list[tuple[exp.Expr, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise PolicyError(
                f"the condition nests deeper than {_MAX_DEPTH} operators; simplify it or split it into several rules"
            )
        for child in node.iter_expressions():
            chained = isinstance(node, exp.Connector) and type(child) is type(node)
            pending.append((child, depth if chained else depth + 1))


def _portable(tree: exp.Expr) -> exp.Expr:
    """Return a copy of a checked tree whose value does not depend on the dialect or the session.

    Columns become lower case; spans become seconds and times UTC (a DAY is 23 to 25 hours long under a session's time
    zone); arithmetic is in doubles (integers overflow, decimals round, each dialect in its own way); a missing list
    contains nothing (NULL in DuckDB, FALSE in BigQuery).
    """
    root = exp.Paren(this=tree.copy())  # a parent for the topmost node, so that it too can be replaced
    arithmetic = [node for node in root.find_all(*_ARITHMETIC) if type_of(node) is ValueType.NUMBER]
    for column in root.find_all(exp.Column):
        column.this.set("this", column.name.lower())
    for interval in [*root.find_all(exp.Interval)]:
        interval.replace(span_literal(span_value(interval)))
    for moment in [*root.find_all(exp.Cast)]:
        text = moment_value(moment).isoformat(sep=" ")
        moment.replace(exp.cast(exp.Literal.string(text), exp.DType.TIMESTAMPTZ))
    for search in [*root.find_all(exp.ArrayContains)]:
        search.replace(exp.Coalesce(this=search.copy(), expressions=[exp.false()]))
    # From the inside out, so that what is copied into a cast is already done.
    for operator in reversed(arithmetic):
        for operand in [*operator.iter_expressions()]:
            if not isinstance(operand.unnest(), (exp.Column, *_ARITHMETIC)):
                operand.replace(exp.cast(operand.copy(), exp.DType.DOUBLE))
    portable: exp.Expr = root.this
    return portable
