"""Parse a rule's condition: from SQL text to a checked tree, with the columns and signals it reads.

Order matters for safety: `check_text` bounds the text before the recursive parser runs; the parser accepts one
expression only, so statements are not even recognised; then every node must be on the allow-list and well typed.
"""

from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp

from label_policy.conditions.grammar import Canonical, canonical
from label_policy.conditions.lexical import check_text
from label_policy.conditions.typecheck import check_condition
from label_policy.exceptions import PolicyError
from label_policy.schema.columns import COLUMN_SIGNALS

_MAX_DEPTH = 64
"""Maximum depth of a tree, without AND and OR chains: `1 + 1 + … + 1` nests without a parenthesis."""


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition that has passed every check.

    Attributes:
        text: the SQL as the policy's author wrote it.
        tree: the parsed SQL; `compiler.condition_tree` writes it for an engine.
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
        PolicyError: it is not one boolean expression within the allow-list, is badly typed, or exceeds the bounds.

    """
    try:
        return _checked(text)
    except PolicyError as error:
        # The quoted SQL may contain line breaks.
        raise PolicyError(" ".join(str(error).split())) from None


def _checked(text: str) -> Condition:
    check_text(text)
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb", into=exp.Condition)
    except sqlglot.errors.ParseError as error:
        raise PolicyError(_parse_message(error)) from None
    except RecursionError:
        raise PolicyError("the condition nests too deeply; simplify it or split it into several rules") from None
    except sqlglot.errors.TokenError as error:
        raise PolicyError(f"the condition is not SQL: {error}; check its quotes and numbers") from None
    _check_depth(tree)
    check_condition(tree)
    for column in tree.find_all(exp.Column):
        column.this.set("this", column.name.lower())
    columns = frozenset(column.name for column in tree.find_all(exp.Column))
    signals = frozenset(signal for column in columns for signal in COLUMN_SIGNALS.get(column, ()))
    return Condition(text, tree, canonical(tree), columns, signals)


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
