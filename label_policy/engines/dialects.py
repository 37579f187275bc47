"""Write a condition in five dialects of SQL, with the same value in every engine and session.

The engines agree on comparisons, AND, OR, NOT, CASE and NULL. Constructs on which they differ are replaced here;
constructs that cannot be replaced are not on the allow-list. `docs/other-engines.md` lists them, with the engines that
were tested.
"""

from collections.abc import Callable, Sequence

from sqlglot import exp

from label_policy.conditions.grammar import json_path, moment_value, number_value, span_literal, span_value
from label_policy.conditions.typecheck import type_of
from label_policy.schema.blank_text import WHITE_SPACE
from label_policy.schema.columns import ValueType

MAX_JSON_NUMBER = 15
"""Maximum characters of a whole number in JSON that `json_extract_string` returns."""


def in_dialect(tree: exp.Expr, dialect: str) -> exp.Expr:
    """Return a copy of a checked condition's tree whose value is the same in `dialect` as in every other.

    - Numbers are doubles: integers overflow and decimals round, each dialect in its own way.
    - Spans become seconds, and times become UTC: a DAY is 23 to 25 hours long under a session's time zone.
    - A missing list contains nothing (NULL in DuckDB, FALSE in BigQuery).
    - ``trim`` removes `WHITE_SPACE`: DuckDB's own leaves line breaks, other engines remove spaces only.
    - ``lower`` maps each letter to one letter, and ILIKE compares lowered texts.
    - Texts are ordered by code points, also where a Postgres database sorts by a language.
    - ``json_extract_string`` returns text, true, false and whole numbers (`_json_text`).
    """
    root: exp.Expr = exp.Paren(this=tree.copy())  # a parent for the top node, so that it can be replaced too
    orders = root.find_all(exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between)
    text_orders = [node for node in orders if type_of(node.this) is ValueType.TEXT]
    rewrites: dict[type[exp.Expr], Callable[..., exp.Expr]] = {
        exp.Interval: lambda span: span_literal(span_value(span)),
        exp.Cast: _moment,
        exp.Literal: _literal,
        exp.Length: lambda length: exp.cast(length, exp.DType.DOUBLE),
        exp.ArrayContains: lambda search: exp.Coalesce(this=search, expressions=[exp.false()]),
        exp.Trim: lambda text: exp.Trim(this=text.this, expression=_white_space(dialect)),
        exp.Lower: lambda text: _lower(text.this, dialect),
        exp.ILike: lambda like: _ilike(like, dialect),
        exp.JSONExtractScalar: lambda read: _json_text(read, dialect),
    }
    if dialect == "postgres":
        for order in text_orders:
            order.set("this", exp.Collate(this=order.this.copy(), expression=exp.to_identifier("C", quoted=True)))
    # Innermost first, so that nodes moved into a new node are rewritten already.
    for node in reversed([*root.find_all(*rewrites, bfs=True)]):
        if not isinstance(node.parent, exp.Interval):
            node.replace(rewrites[type(node)](node.copy()))
    rewritten: exp.Expr = root.this
    return rewritten


def double(value: float) -> exp.Cast:
    """Return a number as a literal that is the same double in every dialect."""
    return exp.cast(exp.Literal.number(repr(value)), exp.DType.DOUBLE)


def latest(moments: Sequence[exp.Expr], dialect: str) -> exp.Expr:
    """Return the latest of `moments`; some may be NULL."""
    if dialect == "bigquery":  # its GREATEST is NULL as soon as one argument is
        moment = exp.to_identifier("moment")
        unnested = exp.Unnest(expressions=[exp.Array(expressions=moments)], alias=exp.TableAlias(columns=[moment]))
        return exp.select(exp.Max(this=exp.column("moment"))).from_(unnested).subquery()
    return exp.func("GREATEST", *moments)


def _white_space(dialect: str) -> exp.Var:
    """Return `WHITE_SPACE` as a literal with escaped, visible characters."""
    if dialect in ("duckdb", "postgres"):
        return exp.var("E'" + "".join(f"\\x{byte:02x}" for byte in WHITE_SPACE.encode()) + "'")
    return exp.var("'" + "".join(f"\\u{ord(character):04x}" for character in WHITE_SPACE) + "'")


def _literal(node: exp.Literal) -> exp.Expr:
    return node if node.is_string else double(number_value(node))


def _moment(node: exp.Cast) -> exp.Cast:
    return exp.cast(exp.Literal.string(moment_value(node).isoformat(sep=" ")), exp.DType.TIMESTAMPTZ)


def _lower(text: exp.Expr, dialect: str) -> exp.Lower:
    if dialect != "duckdb":
        # Other engines lower the first to two letters, and the second depending on its place in the word.
        text = _call("TRANSLATE", text, "İΣ", "iσ")
    return exp.Lower(this=text)


def _ilike(like: exp.ILike, dialect: str) -> exp.Like:
    sides = {name: _lower(like.args[name], dialect) for name in ("this", "expression")}
    return exp.Like(**sides, negate=like.args.get("negate"))


def _json_text(read: exp.JSONExtractScalar, dialect: str) -> exp.Case:
    """Return the text, truth value or whole number at a key as text, and NULL for anything else.

    Fractions, long numbers, lists and objects are left out: each engine writes them in its own way. Where the whole is
    not JSON, so is nothing in it (Postgres, which cannot ask before it reads, raises an error).
    """
    path = json_path(read)
    keys = path.split(".")[1:]
    extra = exp.column("extra")
    match dialect:
        case "duckdb":
            kind, text = (_call("TRY", _call(name, extra, path)) for name in ("JSON_TYPE", "JSON_EXTRACT_STRING"))
        case "spark":
            parsed = _call("TRY_PARSE_JSON", extra)
            kind = _call("SCHEMA_OF_VARIANT", _call("TRY_VARIANT_GET", parsed, path, "variant"))
            text = _call("TRY_VARIANT_GET", parsed, path, "string")
        case "snowflake":
            value = _call("GET_PATH", _call("TRY_PARSE_JSON", extra), ".".join(keys))
            kind, text = _call("TYPEOF", value), _call("TO_VARCHAR", value)
        case "bigquery":
            kind = _call("JSON_TYPE", _call("SAFE.PARSE_JSON", _call("JSON_QUERY", extra, path)))
            text = _call("JSON_VALUE", extra, path)
        case _:
            document = exp.cast(extra, exp.DType.JSON)
            kind = _call("JSON_TYPEOF", _call("JSON_EXTRACT_PATH", document, *keys))
            text = _call("JSON_EXTRACT_PATH_TEXT", document, *keys)
    scalars, numbers = _JSON_KINDS[dialect]
    digits = exp.EQ(this=_call("TRANSLATE", text, "-0123456789", ""), expression=exp.Literal.string(""))
    short = exp.LTE(this=exp.Length(this=text.copy()), expression=exp.Literal.number(MAX_JSON_NUMBER))
    whole = exp.and_(kind.copy().isin(*numbers), digits, short)
    return exp.Case().when(exp.or_(kind.isin(*scalars), whole), text.copy())


_JSON_KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "duckdb": (("VARCHAR", "BOOLEAN"), ("BIGINT", "UBIGINT")),
    "spark": (("STRING", "BOOLEAN"), ("BIGINT",)),
    "snowflake": (("VARCHAR", "BOOLEAN"), ("INTEGER",)),
    "bigquery": (("string", "boolean"), ("number",)),
    "postgres": (("string", "boolean"), ("number",)),
}
"""Each engine's names of JSON types: text and truth values, and numbers that may be whole."""


def _call(name: str, *arguments: exp.Expr | str) -> exp.Anonymous:
    expressions = [
        exp.Literal.string(argument) if isinstance(argument, str) else argument.copy() for argument in arguments
    ]
    return exp.Anonymous(this=name, expressions=expressions)
