"""The allow-list: every kind of expression node that a condition may hold, and its canonical form.

A node whose class is not a key of `SHAPES` is refused. So is an allowed node with arguments that are not named here
(``TRIM(BOTH 'x' FROM y)``, ``BETWEEN SYMMETRIC``, ``table.column``). Canonical names differ from the parser's class
names, so that a policy's digest survives an upgrade of the parser.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from sqlglot import exp

from label_policy.exceptions import PolicyError

ALLOWED = (
    "comparisons, AND, OR, NOT, IS [NOT] NULL, IS [NOT] DISTINCT FROM, [NOT] IN (list), BETWEEN, LIKE, ILIKE, + - * /, "
    "CASE, INTERVAL, TIMESTAMPTZ '…', coalesce, lower, length, trim, starts_with, abs, "
    "list_contains(reasons, '…') and json_extract_string(extra, '$.key')"
)
"""The elements that a condition may use, as listed in error messages and the documentation."""

MAX_NUMBER, MIN_NUMBER = 1e15, 1e-15
"""The largest and the smallest number literal, except 0. Between them every dialect reads the same double, and no
product of a few of them overflows or underflows, which is an error in some dialects."""

# Months and years have no fixed length, so they are left out: a span is the same number of seconds everywhere.
_UNIT_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}
_MAX_SPAN = timedelta(days=3660)


@dataclass(frozen=True)
class Shape:
    """Canonical name of one node class, and the arguments that it may have."""

    name: str
    args: tuple[str, ...] = ("this", "expression")


SHAPES: dict[type[exp.Expr], Shape] = {
    exp.And: Shape("and"),
    exp.Or: Shape("or"),
    exp.Not: Shape("not", ("this",)),
    exp.Paren: Shape("paren", ("this",)),
    exp.EQ: Shape("="),
    exp.NEQ: Shape("<>"),
    exp.LT: Shape("<"),
    exp.LTE: Shape("<="),
    exp.GT: Shape(">"),
    exp.GTE: Shape(">="),
    exp.NullSafeEQ: Shape("is not distinct from"),
    exp.NullSafeNEQ: Shape("is distinct from"),
    exp.Is: Shape("is"),
    exp.In: Shape("in", ("this", "expressions")),
    exp.Between: Shape("between", ("this", "low", "high")),
    exp.Like: Shape("like", ("this", "expression", "negate")),
    exp.ILike: Shape("ilike", ("this", "expression", "negate")),
    exp.Add: Shape("+"),
    exp.Sub: Shape("-"),
    exp.Mul: Shape("*"),
    exp.Div: Shape("/"),
    exp.Neg: Shape("neg", ("this",)),
    exp.Case: Shape("case", ("this", "ifs", "default")),
    exp.If: Shape("when", ("this", "true")),
    exp.Coalesce: Shape("coalesce", ("this", "expressions")),
    exp.Lower: Shape("lower", ("this",)),
    exp.Length: Shape("length", ("this",)),
    exp.Trim: Shape("trim", ("this",)),
    exp.StartsWith: Shape("starts_with"),
    exp.Abs: Shape("abs", ("this",)),
    exp.ArrayContains: Shape("list_contains"),
    exp.JSONExtractScalar: Shape("json_extract_string"),
    exp.Column: Shape("column", ("this",)),
    exp.Literal: Shape("literal", ("this", "is_string")),
    exp.Boolean: Shape("boolean", ("this",)),
    exp.Null: Shape("null", ()),
    exp.Interval: Shape("interval", ("this", "unit")),
    exp.Cast: Shape("timestamptz", ("this", "to")),
}

Canonical = str | float | bool | None | list["Canonical"]
"""A tree as nested lists, the input of the digest."""


def shape_of(node: exp.Expr) -> Shape:
    """Return the shape of `node`.

    Raises:
        PolicyError: the node, or one of its arguments, is outside the allow-list.

    """
    shape = SHAPES.get(type(node))
    if isinstance(node, exp.Upper):
        # One letter becomes two in some engines ('ß' to 'SS') and stays one in others.
        raise PolicyError(f"{spell(node)} differs from engine to engine, as for 'ß'; compare lower(…) instead")
    if shape is None:
        raise PolicyError(f"{spell(node)} is not allowed in a condition, which may use {ALLOWED}")
    for name, value in node.args.items():
        # The parser sets unused dialect details to None, False or an empty list: the text does not contain those.
        if name not in shape.args and value not in (None, False, []):
            if isinstance(node, exp.Column):
                raise PolicyError(f"{spell(node)} names a table; write the column alone, as in {node.name}")
            if name == "query":
                raise PolicyError(
                    f"{spell(node)} holds a subquery; list the values, as in category IN ('billing', 'sla')"
                )
            if isinstance(node, exp.In):
                raise PolicyError(f"{spell(node)} needs plain values in parentheses; search reasons with list_contains")
            raise PolicyError(f"{spell(node)} uses more of {shape.name} than a condition may; write its plain form")
    return shape


def spell(node: exp.Expr) -> str:
    """Return the node as SQL, shortened for a message."""
    text = node.sql(dialect="duckdb", comments=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def number_value(node: exp.Literal) -> float:
    """Return the value of a number literal.

    Raises:
        PolicyError: it is not a number, or too large or too small to be equal in every dialect.

    """
    try:
        value = float(node.this)
    except ValueError:
        raise PolicyError(f"{node.this[:30]} is not a number; write it as in 0.6 or 1e3") from None
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise PolicyError(f"the number {node.this[:30]} is beyond {MAX_NUMBER:.0e}; use a smaller one")
    if abs(value) < MIN_NUMBER and any(digit in "123456789" for digit in node.this.lower().split("e")[0]):
        raise PolicyError(f"the number {node.this[:30]} is closer to 0 than {MIN_NUMBER:.0e}; use 0")
    return value


def span_value(node: exp.Interval) -> timedelta:
    """Return the length of an INTERVAL literal.

    Raises:
        PolicyError: it is not a plain number of seconds, minutes, hours, days or weeks.

    """
    unit = node.args.get("unit")
    name = unit.name.upper().removesuffix("S") if isinstance(unit, exp.Var) else ""
    advice = "write a number of seconds, minutes, hours, days or weeks, as in INTERVAL 3 DAY"
    if name not in _UNIT_SECONDS or not isinstance(node.this, exp.Literal):
        raise PolicyError(f"{spell(node)} is not a span of fixed length; {advice}")
    try:
        seconds = Decimal(node.this.this) * _UNIT_SECONDS[name]
        span = timedelta(microseconds=int(seconds * 1_000_000))
    except (InvalidOperation, ValueError, OverflowError):
        raise PolicyError(f"{spell(node)} has no readable number; {advice}") from None
    if seconds != int(seconds) or not timedelta(0) <= span <= _MAX_SPAN:
        raise PolicyError(f"{spell(node)} is not a whole number of seconds between 0 and ten years; {advice}")
    return span


def span_literal(span: timedelta) -> exp.Interval:
    """Return `span`, a whole number of seconds, as an INTERVAL literal that is exact under any session's time zone."""
    seconds = int(span.total_seconds())
    unit = next(name for name in ("HOUR", "MINUTE", "SECOND") if seconds % _UNIT_SECONDS[name] == 0)
    return exp.Interval(this=exp.Literal.number(seconds // _UNIT_SECONDS[unit]), unit=exp.var(unit))


def moment_value(node: exp.Cast) -> datetime:
    """Return the UTC moment of a ``TIMESTAMPTZ '…'`` literal; one without an offset is read as UTC.

    Raises:
        PolicyError: it is any other cast, or not a time.

    """
    timestamps = (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPNTZ)
    if not (isinstance(node.this, exp.Literal) and node.this.is_string and node.to.this in timestamps):
        raise PolicyError(f"{spell(node)} is a cast, which is not allowed; compare values of one type")
    try:
        moment = datetime.fromisoformat(node.this.this)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise PolicyError(
            f"'{node.this.this[:40]}' is not a time; write it as in TIMESTAMPTZ '2026-01-31 00:00:00+00'"
        ) from None


def operands(node: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the operands of a chain of AND or of OR, left to right, however long, without recursion."""
    kind = type(node)
    pending = [node]
    while pending:
        current = pending.pop()
        if type(current) is kind:
            pending += [current.args["expression"], current.args["this"]]
        elif isinstance(current, exp.Paren) and type(current.this.unnest()) is kind:
            pending.append(current.this.unnest())
        else:
            yield current


def canonical(node: exp.Expr) -> Canonical:
    """Return the meaning of a checked condition as nested lists, without spelling, parentheses or parser names."""
    match node:
        case exp.Paren():
            return canonical(node.this)
        case exp.And() | exp.Or():
            return [SHAPES[type(node)].name, *(canonical(operand) for operand in operands(node))]
        case exp.Column():
            return ["column", node.name.lower()]
        case exp.Literal():
            return ["text", node.this] if node.is_string else ["number", number_value(node)]
        case exp.Like() | exp.ILike():
            like: Canonical = [SHAPES[type(node)].name, canonical(node.this), canonical(node.expression)]
            return ["not", like] if node.args.get("negate") else like
        case exp.Boolean():
            return ["boolean", bool(node.this)]
        case exp.Interval():
            return ["interval", span_value(node).total_seconds()]
        case exp.Cast():
            return ["time", moment_value(node).isoformat()]
        case exp.JSONExtractScalar():
            return ["json_extract_string", canonical(node.this), json_path(node)]
    shape = SHAPES[type(node)]
    form: list[Canonical] = [shape.name]
    for name in shape.args:
        value = node.args.get(name)
        if isinstance(value, list):
            form.append([canonical(item) for item in value])
        else:
            form.append(canonical(value) if isinstance(value, exp.Expr) else None)
    return form


def json_path(node: exp.JSONExtractScalar) -> str:
    """Return the path of a json_extract_string call, which must be plain keys as in ``$.a.b``.

    Raises:
        PolicyError: it is anything else.

    """
    path = node.args["expression"]
    steps = path.expressions if isinstance(path, exp.JSONPath) else []
    keys = [step.this for step in steps[1:] if isinstance(step, exp.JSONPathKey)]
    plain = all(isinstance(key, str) and key.isascii() and key.isidentifier() for key in keys)
    if not steps or not isinstance(steps[0], exp.JSONPathRoot) or len(keys) != len(steps) - 1 or not keys or not plain:
        raise PolicyError(f"{spell(node)} needs a path of plain keys, as in json_extract_string(extra, '$.key')")
    return ".".join(["$", *keys])
