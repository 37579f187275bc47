"""The compiled query against a second implementation: each random condition is built twice, as SQL and as Python."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from label_policy import (
    DECISION_SIGNALS,
    INTERACTION_COLUMNS,
    SIGNALS,
    Policy,
    ValueType,
)

TEXT_COLUMNS = ["agent_id", "category", "completion", "final_text", "edit_kind"]
NUMBER_COLUMNS = ["edit_similarity", "seconds_to_decision", "survey_score"]
SPEED = 12.5
TIME_COLUMNS = [name for name, kind in INTERACTION_COLUMNS.items() if kind is ValueType.TIME]
TEXTS = ["", "none", "factual", "Billing", "billing", "it's", "naïve ÉÜ", "漢字😀", "100%", "a_b", " x "]
STORED_TEXTS = [*TEXTS, "\u2003\x1f\n x\t\u2028\x0b"]  # with what a condition may not hold
NUMBERS = [0.0, 0.1, 0.5, 1.0, 2.25, 100.0]
START = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)  # a night before clocks change in Europe
# Few moments, so that ties and exact windows happen often.
MOMENTS = [START + timedelta(hours=hours) for hours in (0, 1, 12, 13, 24, 36, 168)] + [
    START + timedelta(microseconds=1),
    START - timedelta(microseconds=1),
]


@dataclass
class Both:
    """An expression as SQL and as a function of a row; None is NULL."""

    sql: str
    run: Any


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def lifted(function):
    """Return `function` giving None where an argument is None, as SQL's operators do."""
    return lambda *values: None if any(value is None for value in values) else function(*values)


def build(template: str, function, *parts: Both) -> Both:
    return Both(
        template.format(*(part.sql for part in parts)), lambda row: function(*(part.run(row) for part in parts))
    )


def first(*values):
    return next((value for value in values if value is not None), None)


def conjunction(*values):
    return False if False in values else None if None in values else True


def disjunction(*values):
    return True if True in values else None if None in values else False


def like(value: str, pattern: str, flags: int = 0) -> bool:
    regex = "".join(".*" if mark == "%" else "." if mark == "_" else re.escape(mark) for mark in pattern)
    return re.fullmatch(regex, value, re.DOTALL | flags) is not None


def column(name: str) -> Both:
    return Both(name, lambda row: row.get(name))


def literal(sql: str, value) -> Both:
    return Both(sql, lambda row: value)


@st.composite
def texts(draw, depth=1):
    kind = draw(st.integers(0, 6 if depth else 1))
    if kind == 0:
        return column(draw(st.sampled_from(TEXT_COLUMNS)))
    if kind == 1:
        value = draw(st.sampled_from(TEXTS))
        return literal(quote(value), value)
    if kind == 2:
        return build("lower({})", lifted(str.lower), draw(texts(depth - 1)))
    if kind == 3:
        return build("trim({})", lifted(str.strip), draw(texts(depth - 1)))
    if kind == 4:
        return build("coalesce({}, {})", first, draw(texts(depth - 1)), draw(texts(depth - 1)))
    if kind == 5:
        return Both("json_extract_string(extra, '$.k')", lambda row: None if row["extra"] is None else "é'")
    parts = draw(booleans(depth - 1)), draw(texts(depth - 1)), draw(texts(depth - 1))
    return build("CASE WHEN {} THEN {} ELSE {} END", lambda test, yes, no: yes if test else no, *parts)


@st.composite
def numbers(draw, depth=1):
    kind = draw(st.integers(-1, 6 if depth else 1))
    if kind == -1:
        return Both(
            "seconds_to_read", lambda row: None if row["completion"] is None else len(row["completion"]) / SPEED
        )
    if kind == 0:
        return column(draw(st.sampled_from(NUMBER_COLUMNS)))
    if kind == 1:
        value = draw(st.sampled_from(NUMBERS))
        return literal(f"{value:g}", value)
    if kind == 2:
        return build("length({})", lifted(lambda text: float(len(text))), draw(texts(depth - 1)))
    if kind == 3:
        return build("abs(- {})", lifted(abs), draw(numbers(depth - 1)))
    if kind == 4:
        return build("coalesce({}, {})", first, draw(numbers(depth - 1)), draw(numbers(depth - 1)))
    if kind == 5:
        return build("({} / 3)", lifted(lambda value: value / 3), draw(numbers(depth - 1)))
    operator, function = draw(
        st.sampled_from(
            [("+", lambda a, b: a + b), ("-", lambda a, b: a - b), ("*", lambda a, b: a * b)],
        )
    )
    return build(f"({{}} {operator} {{}})", lifted(function), draw(numbers(depth - 1)), draw(numbers(depth - 1)))


@st.composite
def times(draw, depth=1):
    kind = draw(st.integers(0, 3 if depth else 1))
    if kind == 0:
        return column(draw(st.sampled_from(TIME_COLUMNS)))
    if kind == 1:
        moment = draw(st.sampled_from(MOMENTS))
        return literal(f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'", moment)
    if kind == 2:
        return build("coalesce({}, {})", first, draw(times(depth - 1)), draw(times(depth - 1)))
    span, delta = draw(
        st.sampled_from(
            [("1 DAY", timedelta(days=1)), ("'36 hours'", timedelta(hours=36)), ("1 WEEK", timedelta(days=7))]
        )
    )
    sign, function = draw(st.sampled_from([("+", lambda time: time + delta), ("-", lambda time: time - delta)]))
    return build(f"({{}} {sign} INTERVAL {span})", lifted(function), draw(times(depth - 1)))


COMPARISONS = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@st.composite
def booleans(draw, depth=2):
    sides = draw(st.sampled_from([texts, numbers, times]))
    kind = draw(st.integers(0, 11 if depth else 8))
    if kind <= 2:
        operator = draw(st.sampled_from(list(COMPARISONS)))
        left, right = draw(sides(min(depth, 1))), draw(sides(min(depth, 1)))
        # A closed set of values is checked by name, so a text that is no edit kind may not be compared with one.
        if sides is texts and "edit_kind" in (left.sql, right.sql):
            right = left
        return build(f"({{}} {operator} {{}})", lifted(COMPARISONS[operator]), left, right)
    if kind == 3:
        negate = draw(st.booleans())
        template = "{} IS NOT NULL" if negate else "{} IS NULL"
        return build(template, lambda value: (value is None) != negate, draw(sides(min(depth, 1))))
    if kind == 4:
        word = draw(st.sampled_from(["x", "wrong_routing", "it's", "漢"]))
        return Both(f"list_contains(reasons, {quote(word)})", lambda row: word in (row["reasons"] or []))
    if kind == 5:
        parts = [draw(sides(0)) for _ in range(3)]
        return build("{} BETWEEN {} AND {}", lambda a, b, c: conjunction(_le(b, a), _le(a, c)), *parts)
    if kind == 6:
        pattern, flags = draw(st.sampled_from(["%ill%", "_illing", "%", "", "it's%", "漢_", "1%0_"])), 0
        operator = draw(st.sampled_from(["LIKE", "ILIKE", "NOT LIKE"]))
        if operator == "ILIKE":
            flags = re.IGNORECASE
        test = lifted(lambda value: like(value, pattern, flags) != operator.startswith("NOT"))
        return build(f"{{}} {operator} {quote(pattern)}", test, draw(texts(0)))
    if kind == 7:
        members = draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4))
        listed = ", ".join(map(quote, members))
        return build(f"category IN ({listed})", lifted(lambda value: value in members), column("category"))
    if kind == 8:
        name = draw(st.sampled_from(["final_text", "category"]))
        parts = column(name), column("completion")
        return build("({} IS DISTINCT FROM {})", lambda a, b: a != b, *parts)
    if kind == 9:
        return build("NOT ({})", lifted(lambda value: not value), draw(booleans(depth - 1)))
    joined = draw(st.lists(booleans(depth - 1), min_size=2, max_size=3))
    word, function = draw(st.sampled_from([("AND", conjunction), ("OR", disjunction)]))
    return build("(" + f" {word} ".join(["{}"] * len(joined)) + ")", function, *joined)


_le = lifted(lambda a, b: a <= b)


def rows():
    stored = st.none() | st.sampled_from(STORED_TEXTS)
    columns = {
        **dict.fromkeys(TIME_COLUMNS, st.none() | st.sampled_from(MOMENTS)),
        **dict.fromkeys(["agent_id", "category", "completion", "final_text"], stored),
        "edit_kind": st.none() | st.sampled_from(["none", "cosmetic", "factual"]),
        **dict.fromkeys(NUMBER_COLUMNS, st.none() | st.sampled_from([*NUMBERS, 0.30000000000000004])),
        "reasons": st.none() | st.lists(st.sampled_from(["x", "wrong_routing", "it's", "漢字"]), max_size=3),
        "extra": st.none() | st.just('{"k": "é\'"}'),
    }
    return st.fixed_dictionaries(columns)


def policies(conditions: list[Both], windows: dict[str, timedelta]) -> Policy:
    labels = [("desirable", "strong", 1.0), ("undesirable", "weak", 0.25), ("abstain", None, 0.0)]
    rules = []
    for index, condition in enumerate(conditions):
        label, tier, weight = labels[index % 3]
        trust = {} if tier is None else {"tier": tier, "weight": weight}
        rules.append({"id": f"r{index}", "when": condition.sql, "label": label, "why": "x", **trust})
    return Policy(name="p", version=1, description="x", owner="x", reading_speed=SPEED, maturity=windows, rules=rules)


def expected_maturity(policy: Policy, row: dict, index: int):
    """Say when a row decided by rule `index` is final, from the rules' texts."""
    derived = {"surveyed": ["survey_score"]}
    for signal in ("accepted", "edited"):
        derived.setdefault(signal, []).extend(["final_text", "edit_similarity", "edit_kind"])
    decisions = ["decided_at", "seconds_to_decision"]
    for signal in DECISION_SIGNALS:
        derived.setdefault(signal, []).extend(decisions)
    for signal in SIGNALS:
        derived.setdefault(signal, []).extend(["reasons", "agent_id"])
    text = " ".join(rule.when for rule in policy.rules[: index + 1])
    moments = [row[f"{signal}_at"] or row["shown_at"] for signal in DECISION_SIGNALS]
    base = max((moment for moment in moments if moment is not None), default=None)
    waits = [timedelta(0)]
    for signal, window in policy.maturity.items():
        names = [f"{signal}_at", *derived.get(signal, [])]
        happened = row[f"{signal}_at"]
        to_come = happened is None or (base is not None and happened < base)
        if to_come and any(re.search(rf"\b{name}\b", text) for name in names):
            waits.append(window)
    return None if base is None else base + max(waits)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(booleans(), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from([timedelta(minutes=30), timedelta(days=7)]), max_size=4),
    st.lists(rows(), min_size=1, max_size=12),
)
def test_compiled_labels_equal_a_plain_evaluation(decide, conditions, windows, interactions):
    policy = policies(conditions, windows)
    for given_row, row in zip(interactions, decide(policy, interactions), strict=True):
        index = next((i for i, both in enumerate(conditions) if both.run(given_row) is True), len(conditions))
        if index == len(conditions):
            assert (row["rule"], row["label"], row["tier"], row["weight"]) == ("no_rule", "abstain", None, 0.0)
        else:
            rule = policy.rules[index]
            assert (row["rule"], row["label"], row["tier"], row["weight"]) == (
                rule.id,
                rule.label,
                rule.tier,
                rule.weight,
            )
        assert row["matures_at"] == expected_maturity(policy, given_row, index)
