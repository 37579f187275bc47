"""Check the types of a condition: every column exists, every operator gets comparable types, the result is a boolean.

A condition that is well typed here cannot fail at run time: text is never compared with numbers, nothing is divided by
a column, no cast can overflow. A value may still be NULL; then the condition does not hold.
"""

import difflib
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from label_policy.conditions.grammar import json_path, moment_value, number_value, operands, shape_of, span_value, spell
from label_policy.exceptions import PolicyError
from label_policy.schema.columns import COLUMN_VALUES, CONDITION_COLUMNS, ValueType

_ORDERED = (ValueType.TEXT, ValueType.NUMBER, ValueType.TIME)

MAX_PRODUCTS = 16
"""Maximum multiplications and divisions in one condition: a product of that many largest numbers fits a double."""


def check_condition(tree: exp.Expr) -> None:
    """Check that `tree` stays within the allow-list, is well typed and is a boolean.

    Raises:
        PolicyError: names the offending part, its type, and what to write instead.

    """
    kind = type_of(tree)
    if kind is not ValueType.BOOLEAN:
        raise PolicyError(f"a condition must be true or false, but {spell(tree)} is {kind}; compare it with something")
    products = sum(1 for _ in tree.find_all(exp.Mul, exp.Div))
    if products > MAX_PRODUCTS:
        raise PolicyError(
            f"the condition multiplies and divides {products} times, at most {MAX_PRODUCTS} are allowed; simplify it"
        )


def type_of(node: exp.Expr) -> ValueType:
    """Check a node and everything below it, and return its type.

    Raises:
        PolicyError: as `check_condition`.

    """
    shape_of(node)
    if isinstance(node, exp.Predicate):
        for operand in node.iter_expressions():
            # `a < b = c` is grouped to the left, to the right, or refused, according to the dialect.
            if isinstance(operand, exp.Predicate | exp.Not | exp.Connector):
                raise PolicyError(f"in {spell(node)}, put parentheses around {spell(operand)}")
    return _RULES[type(node)](node)


def _column(node: exp.Column) -> ValueType:
    name = node.name.lower()
    kind = CONDITION_COLUMNS.get(name)
    if kind is not None:
        return kind
    near = difflib.get_close_matches(name, [*CONDITION_COLUMNS], n=1)
    advice = f"did you mean '{near[0]}'?" if near else f"the columns are {', '.join(CONDITION_COLUMNS)}"
    raise PolicyError(f"there is no column '{node.name[:60]}' that a condition may read; {advice}")


def _literal(node: exp.Literal) -> ValueType:
    if node.is_string:
        if "${" in node.this:
            raise PolicyError(f"{spell(node)} holds '${{', where Spark would fill in a setting of its own; remove it")
        return ValueType.TEXT
    number_value(node)
    return ValueType.NUMBER


def _interval(node: exp.Interval) -> ValueType:
    span_value(node)
    return ValueType.SPAN


def _moment(node: exp.Cast) -> ValueType:
    moment_value(node)
    return ValueType.TIME


def _boolean_chain(node: exp.Expr) -> ValueType:
    for operand in operands(node):
        _expect(operand, ValueType.BOOLEAN, node)
    return ValueType.BOOLEAN


def _equality(node: exp.Binary) -> ValueType:
    kind = _common(node, [node.left, node.right])
    if kind is ValueType.TEXTS:
        raise PolicyError(f"{spell(node)} compares lists; use list_contains(reasons, '…')")
    _check_values(node.left, [node.right])
    _check_values(node.right, [node.left])
    return ValueType.BOOLEAN


def _order(node: exp.Expr, sides: list[exp.Expr]) -> ValueType:
    kind = _common(node, sides)
    if kind not in _ORDERED:
        raise PolicyError(f"{spell(node)} orders values of a type without order ({kind}); use = or <>")
    return ValueType.BOOLEAN


def _between(node: exp.Between) -> ValueType:
    _check_unnested(node)
    return _order(node, [node.this, node.args["low"], node.args["high"]])


def _is(node: exp.Is) -> ValueType:
    if not isinstance(node.expression, exp.Null):
        raise PolicyError(f"{spell(node)} is not allowed: IS takes NULL only; write the truth value itself")
    if type_of(node.this) is ValueType.SPAN:
        raise PolicyError(_stray_span(node))
    return ValueType.BOOLEAN


def _in(node: exp.In) -> ValueType:
    _check_unnested(node)
    members: list[exp.Expr] = node.expressions
    if not members:
        raise PolicyError(
            f"{spell(node)} needs a list of values in parentheses, as in category IN ('billing', 'refund')"
        )
    if any(isinstance(_bare(member), exp.Null) for member in members):
        raise PolicyError(f"{spell(node)} lists NULL, which equals nothing; add IS NULL as a condition of its own")
    if not all(isinstance(_bare(member), exp.Literal | exp.Cast | exp.Boolean) for member in members):
        raise PolicyError(f"{spell(node)} may list plain values only; compare columns with = and join them with OR")
    if _common(node, [node.this, *members]) is ValueType.TEXTS:
        raise PolicyError(f"{spell(node)} looks for a list; use list_contains(reasons, '…')")
    _check_values(node.this, members)
    return ValueType.BOOLEAN


def _like(node: exp.Binary) -> ValueType:
    _expect(node.left, ValueType.TEXT, node)
    pattern = node.right
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        raise PolicyError(f"{spell(node)} needs a pattern in quotes, as in '%refund%'")
    if "\\" in pattern.this:
        # A backslash is an escape in some dialects and a character in others.
        raise PolicyError(f"{spell(node)} has a backslash in its pattern, which dialects read differently; remove it")
    return ValueType.BOOLEAN


def _sum(node: exp.Binary) -> ValueType:
    left, right = type_of(node.left), type_of(node.right)
    if left is right is ValueType.NUMBER:
        return ValueType.NUMBER
    if left is ValueType.TIME and right is ValueType.SPAN:
        return ValueType.TIME
    if left is right is ValueType.TIME:
        raise PolicyError(
            f"{spell(node)} combines two times; compare them instead, as in reopened_at > decided_at + INTERVAL 3 DAY"
        )
    raise PolicyError(
        f"{spell(node)} combines {left} and {right}; + and - take two numbers, or a time and an INTERVAL after it"
    )


def _divide(node: exp.Div) -> ValueType:
    _expect(node.left, ValueType.NUMBER, node)
    divisor = node.right
    if not (isinstance(divisor, exp.Literal) and not divisor.is_string and number_value(divisor) != 0):
        # Division by zero is an error in some dialects, NULL in others, infinity in the rest.
        raise PolicyError(f"{spell(node)} may only divide by a number other than 0; multiply the other side instead")
    return ValueType.NUMBER


def _case(node: exp.Case) -> ValueType:
    branches: list[exp.If] = node.args["ifs"]
    for branch in branches:
        shape_of(branch)
        if node.this is None:
            _expect(branch.this, ValueType.BOOLEAN, node)
    if node.this is not None:
        if node.this.find(exp.Case):
            # Each branch compares with it: three levels of three branches would be 27 comparisons.
            raise PolicyError(f"{spell(node)} chooses by another CASE; write CASE WHEN … THEN … instead")
        _common(node, [node.this, *(branch.this for branch in branches)])
        _check_values(node.this, [branch.this for branch in branches])
    default = node.args.get("default")
    results = [branch.args["true"] for branch in branches] + ([default] if default is not None else [])
    # NULL is a valid result of a branch, as long as another branch determines the type.
    return _common(node, [result for result in results if not isinstance(_bare(result), exp.Null)])


def _if(node: exp.If) -> ValueType:
    raise PolicyError(f"{spell(node)} is not allowed as a function; write CASE WHEN … THEN … ELSE … END")


def _json(node: exp.JSONExtractScalar) -> ValueType:
    column = node.this
    if not (isinstance(column, exp.Column) and column.name.lower() == "extra"):
        raise PolicyError(f"{spell(node)} may read the column 'extra' only; write json_extract_string(extra, '$.key')")
    json_path(node)
    return type_of(column)


def _coalesce(node: exp.Coalesce) -> ValueType:
    kind = _common(node, [node.this, *node.expressions])
    if kind is ValueType.TEXTS:
        raise PolicyError(f"{spell(node)} takes a list; list_contains is already false where the list is missing")
    return kind


def _takes(argument: ValueType, result: ValueType) -> Callable[[exp.Expr], ValueType]:
    """Return the type rule of an operator or function whose operands are `argument` and whose result is `result`."""

    def rule(node: exp.Expr) -> ValueType:
        for operand in (node.args["this"], node.args.get("expression")):
            if operand is not None:
                _expect(operand, argument, node)
        return result

    return rule


def _list_contains(node: exp.ArrayContains) -> ValueType:
    _expect(node.this, ValueType.TEXTS, node)
    if not (isinstance(node.expression, exp.Literal) and node.expression.is_string):
        raise PolicyError(
            f"{spell(node)} looks for something other than a text in quotes; write it as in 'wrong_routing'"
        )
    return ValueType.BOOLEAN


def _expect(node: exp.Expr, wanted: ValueType, parent: exp.Expr) -> None:
    kind = type_of(node)
    if kind is not wanted:
        raise PolicyError(f"in {spell(parent)}, {spell(node)} is {kind} where {wanted} is needed")


def _common(parent: exp.Expr, sides: list[exp.Expr]) -> ValueType:
    """Return the one type that all `sides` have."""
    kinds = [type_of(side) for side in sides]
    if not kinds or ValueType.NULL in kinds:
        raise PolicyError(
            f"{spell(parent)} uses NULL as a value, which never compares equal; write IS NULL or IS NOT NULL"
        )
    if ValueType.SPAN in kinds:
        raise PolicyError(_stray_span(parent))
    for side, kind in zip(sides, kinds, strict=True):
        if kind is not kinds[0]:
            raise PolicyError(
                f"in {spell(parent)}, {spell(sides[0])} is {kinds[0]} and {spell(side)} is {kind}; "
                "both sides must be of one type"
            )
    return kinds[0]


def _stray_span(node: exp.Expr) -> str:
    # In some dialects a span is not a value: it cannot be compared, stored or chosen.
    return f"in {spell(node)}, an INTERVAL stands alone; add it to a time, as in accepted_at + INTERVAL 3 DAY"


def _check_unnested(node: exp.Between | exp.In) -> None:
    # DuckDB binds the operands of both several times: ten nested ones take ten seconds.
    if any(inner is not node for inner in node.find_all(exp.Between, exp.In)):
        raise PolicyError(f"{spell(node)} contains another IN or BETWEEN; write one of them with = or >=")


def _check_values(side: exp.Expr, others: list[exp.Expr]) -> None:
    """Check text literals that are compared with a column with a closed set of values."""
    column = _bare(side)
    known = COLUMN_VALUES.get(column.name.lower()) if isinstance(column, exp.Column) else None
    for other in map(_bare, others):
        if known and isinstance(other, exp.Literal) and other.this not in known:
            near = difflib.get_close_matches(other.this, known, n=1)
            advice = f"did you mean '{near[0]}'?" if near else f"it is one of {', '.join(known)}"
            raise PolicyError(f"{column.name} is never '{other.this[:40]}'; {advice}")


def _bare(node: exp.Expr) -> exp.Expr:
    return node.unnest()


# Keys are the node classes of the allow-list. Each rule takes its key's type, which a dict type cannot express.
_RULES: dict[type[exp.Expr], Callable[[Any], ValueType]] = {
    exp.And: _boolean_chain,
    exp.Or: _boolean_chain,
    exp.Not: _takes(ValueType.BOOLEAN, ValueType.BOOLEAN),
    exp.Paren: lambda node: type_of(node.this),
    **dict.fromkeys((exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ), _equality),
    **dict.fromkeys((exp.LT, exp.LTE, exp.GT, exp.GTE), lambda node: _order(node, [node.left, node.right])),
    exp.Between: _between,
    exp.Is: _is,
    exp.In: _in,
    **dict.fromkeys((exp.Like, exp.ILike), _like),
    **dict.fromkeys((exp.Add, exp.Sub), _sum),
    exp.Mul: _takes(ValueType.NUMBER, ValueType.NUMBER),
    exp.Div: _divide,
    **dict.fromkeys((exp.Neg, exp.Abs), _takes(ValueType.NUMBER, ValueType.NUMBER)),
    exp.Case: _case,
    exp.If: _if,
    exp.Coalesce: _coalesce,
    **dict.fromkeys((exp.Lower, exp.Trim), _takes(ValueType.TEXT, ValueType.TEXT)),
    exp.Length: _takes(ValueType.TEXT, ValueType.NUMBER),
    exp.StartsWith: _takes(ValueType.TEXT, ValueType.BOOLEAN),
    exp.ArrayContains: _list_contains,
    exp.JSONExtractScalar: _json,
    exp.Column: _column,
    exp.Literal: _literal,
    exp.Boolean: lambda _: ValueType.BOOLEAN,
    exp.Null: lambda _: ValueType.NULL,
    exp.Interval: _interval,
    exp.Cast: _moment,
}
