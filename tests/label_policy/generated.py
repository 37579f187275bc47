"""Thousands of interactions and conditions on which two engines could disagree."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from label_policy import INTERACTION_COLUMNS, SIGNALS, WHITE_SPACE, EditKind, Policy, ValueType

TYPES = {
    ValueType.TEXT: pa.string(),
    ValueType.NUMBER: pa.float64(),
    ValueType.TIME: pa.timestamp("us", "UTC"),
    ValueType.TEXTS: pa.list_(pa.string()),
}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in INTERACTION_COLUMNS.items()])

_WORDS = r"""
    none cosmetic factual Billing billing BILLING it's it''s "quoted" 100% % _ %% a_b a\b c\\d \n naïve NAÏVE é ß ẞ SS
    straße STRASSE İ i I ı ΑΣ ας ασ ΑΣΑ σ K ſ ŉ ﬁ ᾳ ǆ ǅ Ǆ שלום مرحبا 漢字 漢字😀 😀 🇩🇪 𐀀 zz aé az a~ $1 ${x} ? :x
    @y #z -- /*x*/ ; ' '' \' \\' null NULL true 0 -1 1.0 NaN 2026-01-31 <b> {} []
"""
TEXTS = ["", " ", "  ", "\t", "\n", " x ", "\u00a0x\u00a0", "\u3000x", "x\n", "a\nb", "\tx", "\x01\x1f\x7f\x85", "a b"]
TEXTS += ["e\u0301", "\u0301", "\u200f\u05e9\u200e", "\ufeffa", "a\u00adb", "\uffff", "👩\u200d👧", "\u2028", "a\r\nb"]
TEXTS += [
    WHITE_SPACE,
    f"{WHITE_SPACE}x{WHITE_SPACE}",
    "\u2028 x",
    "x\x0b\x0c",
    "\x1c\x1dx\x1e\x1f",
    "\x85x\u205f",
    "\u200bx",
]
TEXTS += [*_WORDS.split(), "x" * 5000, "é" * 300, "Billing and refund", "Billing\n refund"]
PATTERNS = ["", "%", "_", "__", "%ill%", "_illing", "it's%", "漢_", "1%0%", "a_b", "%é", "%\n%", "a~", "x%x", "%ß"]
NUMBERS = [0.0, -0.0, 0.1, 0.2, 0.30000000000000004, 0.3, 0.5, 0.5999999999999999, 0.6, 0.6000000000000001, 1.0]
NUMBERS += [2.25, 1e15, -1e15, 9007199254740993.0, 1e-15, np.inf, -np.inf, np.nan, 12.0, 50.0]
OUT_OF_RANGE = [5e-324, 1.7e308, -1.7e308]  # their sums and products are errors in Postgres
REASONS = [None, "", "x", "wrong_routing", "it's", "漢", "漢字", "X", "privacy_leak", "hallucinated_policy", " x"]
_VALUES = r"""
    "v" "é'" "\u00e9'" "\ud83d\ude00" "😀" "" "true" "12" "1.0" "null" "a\nb" "\"" "\\" "\/" "it's" "\u0041" "\u2028"
    true false null 0 1 -1 12 123456789012345 1234567890123456 12345678901234567890 -99999999999999 -999999999999999
    1.0 4.5 4.50 1e2 1E400 -0.0 0.1000000000000000055 [] [1] {} {"k":1}
"""
JSON = [f'{{"a": "x", "k": {value}}}' for value in [*_VALUES.split(), '" "']]
JSON += ["[]", "null", '"k"', "1", "{}", '{"K": "v"}', '{"k.j": "v"}', '{"j": {"k": "v"}}', '{"k": {"j": "v"}}']
JSON += [' { "k" :\n"v" } ', '{"k": {"j": true}, "j": 1}', '{"slotfree": true}', '{"slotfree": "true"}', '{"k": [1]}']
NO_JSON = ["", "nope", "{", "{'k': 'v'}", '{"k": "\t"}', '{"k": 01}', '{"k" "v"}', '\ufeff{"k": 1}']

START = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)  # a night before clocks change in Europe
HOURS = (0, 0.5, 1, 12, 13, 24, 36, 72, 168, -1, 1500)
MOMENTS = [START + timedelta(hours=hours) for hours in HOURS]
MOMENTS += [START + timedelta(hours=hours, microseconds=step) for hours in (0, 72, 168) for step in (-1, 1)]
FAR = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 1582, 1900, 2262)]
FAR += [datetime(year, 12, 31, 23, 59, 59, 999999, UTC) for year in (1969, 9989)]
SPANS = ("1 DAY", "'36 hours'", "1 WEEK", "30 MINUTE", "0 SECOND", "3660 DAY")


def interactions(rows: int, seed: int, *, wild: bool = True) -> pa.Table:
    """Make interactions whose columns are independent draws from the values above, with many nulls and ties.

    What is `wild` is beyond what the columns are documented to hold.
    """
    generator = np.random.default_rng(seed)

    def drawn(values: list, kind: pa.DataType, missing: float = 0.2) -> pa.Array:
        picks = generator.integers(0, len(values), rows)
        return pa.array(values, kind).take(pa.array(picks, mask=generator.random(rows) < missing))

    def column(name: str, kind: ValueType) -> pa.Array:
        match name, kind:
            case "draft_id", _:
                return pa.array(np.char.add("d", np.arange(rows).astype(str)))
            case "edit_kind", _:
                return drawn(list(map(str, EditKind)), pa.string())
            case "extra", _:
                return drawn(JSON + NO_JSON * wild, pa.string())
            case _, ValueType.TEXT:
                return drawn(TEXTS, pa.string())
            case _, ValueType.NUMBER:
                return drawn(NUMBERS + OUT_OF_RANGE * wild, pa.float64())
            case _, ValueType.TIME:
                return drawn(MOMENTS * 8 + FAR, TYPES[kind], missing=0.01 if name == "shown_at" else 0.6)
        lists = [[], *([reason] for reason in REASONS), ["x", None], [None, "漢", "x"], REASONS * 3]
        return drawn(lists, TYPES[kind])

    return pa.table([column(name, kind) for name, kind in INTERACTION_COLUMNS.items()], schema=SCHEMA)


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


LITERALS = [text for text in TEXTS if "${" not in text and len(text) < 1000 and text.replace("\n", " ").isprintable()]


class Conditions:
    """Random conditions, well typed, of every shape that the grammar has."""

    def __init__(self, seed: int, literals: list[str] = LITERALS) -> None:
        self.random = random.Random(seed)
        self.literals = literals

    def one_of(self, *choices: str) -> str:
        return self.random.choice(choices)

    def columns(self, kind: ValueType) -> list[str]:
        closed = ("edit_kind", "draft_id")
        return [name for name, value in INTERACTION_COLUMNS.items() if value is kind and name not in closed]

    def text(self, depth: int) -> str:
        kinds = ["column", "column", "literal"] + ["lower", "trim", "coalesce", "json", "case"] * (depth > 0)
        match self.one_of(*kinds):
            case "column":
                return self.one_of(*self.columns(ValueType.TEXT))
            case "literal":
                return quote(self.one_of(*self.literals))
            case "lower" | "trim" as name:
                return f"{name}({self.text(depth - 1)})"
            case "coalesce":
                return f"coalesce({self.text(depth - 1)}, {self.text(depth - 1)}, {self.text(0)})"
            case "json":
                return f"json_extract_string(extra, '{self.one_of('$.k', '$.k', '$.k.j', '$.slotfree')}')"
            case _:
                return self.case(depth, self.text)

    def number(self, depth: int) -> str:
        kinds = ["column", "column", "literal"] + ["length", "abs", "coalesce", "case", "divide", "sum"] * (depth > 0)
        match self.one_of(*kinds):
            case "column":
                return self.one_of(*self.columns(ValueType.NUMBER), "seconds_to_read")
            case "literal":
                return self.one_of(
                    "0", "0.1", ".5", "0.6", "0.30000000000000004", "1e15", "-1", "- 0", "12", "1e-15", "2.25"
                )
            case "length":
                return f"length({self.text(depth - 1)})"
            case "abs":
                return f"abs(-({self.number(depth - 1)}))"
            case "coalesce":
                return f"coalesce({self.number(depth - 1)}, {self.number(0)})"
            case "case":
                return self.case(depth, self.number)
            case "divide":
                return f"{self.number(0)} / {self.one_of('3', '0.1', '25')}"
            case _:
                return f"({self.number(depth - 1)} {self.one_of('+', '-', '*')} {self.number(depth - 1)})"

    def time(self, depth: int) -> str:
        match self.one_of(*["column", "column", "literal"] + ["coalesce", "case", "span", "span"] * (depth > 0)):
            case "column":
                return self.one_of(*self.columns(ValueType.TIME))
            case "literal":
                moment = self.random.choice(MOMENTS + FAR)
                return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"
            case "coalesce":
                return f"coalesce({self.time(depth - 1)}, {self.time(0)})"
            case "case":
                return self.case(depth, self.time)
            case _:
                column, sign = self.one_of(*self.columns(ValueType.TIME)), self.one_of("+", "-")
                return f"{column} {sign} INTERVAL {self.one_of(*SPANS)}"

    def case(self, depth: int, part: Callable[[int], str]) -> str:
        default = self.one_of("", "ELSE NULL", f"ELSE {part(depth - 1)}")
        if self.random.random() < 0.3:
            operand = self.one_of(*self.columns(ValueType.TEXT))
            return f"CASE {operand} WHEN {self.text(0)} THEN {part(depth - 1)} {default} END"
        test = f"WHEN {self.boolean(depth - 1)} THEN"
        return f"CASE {test} {part(depth - 1)} WHEN {self.boolean(0)} THEN {part(0)} {default} END"

    def untested(self, part: Callable[[int], str], depth: int) -> str:
        """Make a part that holds no IN and no BETWEEN, as they do not nest."""
        made = part(depth)
        return part(0) if " IN (" in made or " BETWEEN " in made else made

    def boolean(self, depth: int) -> str:
        part = self.random.choice([self.text, self.number, self.time])
        kinds = [
            "compare",
            "compare",
            "null",
            "contains",
            "between",
            "like",
            "in",
            "kind",
            "distinct",
            "starts",
            "truth",
        ]
        match self.one_of(*kinds, *["not", "join", "join", "case", "equal"] * (depth > 0)):
            case "compare":
                return f"{part(depth)} {self.one_of('=', '<>', '<', '<=', '>', '>=')} {part(depth)}"
            case "null":
                return f"{part(depth)} IS {self.one_of('', 'NOT')} NULL"
            case "contains":
                return f"list_contains(reasons, {quote(self.one_of(*filter(None, REASONS)))})"
            case "between":
                return f"{self.untested(part, depth)} {self.one_of('', 'NOT')} BETWEEN {part(0)} AND {part(0)}"
            case "like":
                word = self.one_of("LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE")
                return f"{self.text(depth)} {word} {quote(self.one_of(*PATTERNS))}"
            case "in":
                members = {part(0) for _ in range(30)} - {*INTERACTION_COLUMNS, "seconds_to_read", "- 0", "-1"}
                listed = ", ".join(sorted(members)) or part(0)
                return f"{self.untested(part, depth)} {self.one_of('', 'NOT')} IN ({listed})" if members else "FALSE"
            case "kind":
                return f"edit_kind {self.one_of('=', '<>', '<', '>=')} '{self.one_of(*EditKind)}'"
            case "distinct":
                return f"({part(depth)} IS {self.one_of('', 'NOT')} DISTINCT FROM {part(depth)})"
            case "starts":
                return f"starts_with({self.text(depth)}, {self.text(0)})"
            case "truth":
                return self.one_of("TRUE", "FALSE")
            case "not":
                return f"NOT ({self.boolean(depth - 1)})"
            case "equal":
                return f"({self.boolean(depth - 1)}) {self.one_of('=', '<>')} ({self.boolean(depth - 1)})"
            case "case":
                return self.case(depth, self.boolean)
            case _:
                word = self.one_of(" AND ", " OR ")
                return "(" + word.join(self.boolean(depth - 1) for _ in range(self.random.randint(2, 3))) + ")"


def any_text(test: str) -> str:
    names = [name for name, kind in INTERACTION_COLUMNS.items() if kind is ValueType.TEXT and name != "draft_id"]
    return " OR ".join(test.format(name) for name in names if name != "edit_kind")


TROUBLE = [
    *(any_text(f"lower({{}}) = {quote(text)}") for text in ("i", "ασ", "straße", "ß", "k", "s", "ﬁ", "ǆ", "naïve")),
    *(any_text(f"{{}} ILIKE {quote(text)}") for text in ("İ", "ας", "%ß", "ss", "K", "ŉ", "Ǆ", "%É%", "_")),
    *(any_text(f"length({{}}) = {length}") for length in (1, 2, 3, 5)),
    *(any_text(f"trim({{}}) = {quote(text)}") for text in ("x", "", "\n", "x\n", "a\nb")),
    *(any_text(f"{{}} {operator} 'z'") for operator in ("<", ">=")),
    "0.1 + 0.2 <= 0.3 OR length('a') * 0.1 = 0.1",
    "0.1 + 0.2 > 0.3 AND 0.1 * 3 > 0.3",
    "length(completion) / 3 = 0.3333333333333333 OR length(final_text) / 3 = 1.6666666666666667",
    "1e15 * 1e15 * 1e15 > 1e15 AND 0.00000000000001 * 0.00000000000001 > 0",
    "seconds_to_read = 0.08 OR seconds_to_read > 24",
    "NOT list_contains(reasons, 'x') AND reasons IS NULL",
    "survey_score IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) OR edit_similarity NOT IN (0.1, 0)",
    "survey_score IS NOT DISTINCT FROM - 0.0 OR survey_score > 1e15 OR survey_score < - 1e15",
    "coalesce(json_extract_string(extra, '$.k'), 'none') IN ('1', '1.0', '100', '0', '-1', '123456789012345')",
    "json_extract_string(extra, '$.k') IS NULL",
    "json_extract_string(extra, '$.k') = 'é''' OR json_extract_string(extra, '$.k') LIKE '_'",
    "shown_at + INTERVAL 3660 DAY - INTERVAL '87840 hours' = shown_at",
]
"""Conditions that engines read differently without rewriting."""


def policy(seed: int, *, conditions: int = 50) -> Policy:
    """Make a policy that shows, for each condition, where it holds, where it does not, and where it is NULL.

    Every condition has the drafts with one ending of their ids to itself. Policy 0 has the conditions in `TROUBLE`.
    """
    made = Conditions(seed)
    chosen = TROUBLE if seed == 0 else [made.boolean(2) for _ in range(conditions)]
    windows = {
        signal: timedelta(minutes=made.random.choice([30, 60, 4320, 10080]))
        for signal in made.random.sample(SIGNALS, 6)
    }
    sent = {"when": made.boolean(1), "tier": "weak", "weight": 0.7, "why": "x"}
    return Policy(
        name="generated",
        version=1,
        description="x",
        owner="x",
        reading_speed=12.5,
        maturity=windows,
        rules=list(_rules(made, chosen)),
        sent_text=sent,
    )


def _rules(made: Conditions, conditions: list[str]) -> Iterator[dict]:
    for index, condition in enumerate(conditions):
        ours = f"draft_id LIKE '%{index:02}'"
        weight = made.random.choice([0.0, 0.1, 0.30000000000000004, 1.0, 2.0])
        verdict = {"label": "desirable", "tier": "strong", "weight": weight}
        yield {"id": f"holds_{index:02}", "why": "x", "when": f"{ours} AND ({condition})", **verdict}
        yield {"id": f"not_{index:02}", "why": "x", "when": f"{ours} AND NOT ({condition})", "label": "abstain"}
