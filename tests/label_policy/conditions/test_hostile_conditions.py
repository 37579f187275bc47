"""Only conditions pass the parser, and other texts are refused fast and clearly."""

import json
import re
import time
from collections.abc import Iterator

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from label_policy import CONDITION_COLUMNS, Condition, Policy, PolicyError, parse_condition
from label_policy.checks.policy_findings import review_policy
from label_policy.engines.compiler import condition_tree
from label_policy.engines.polars_labels import label_with_polars
from tests.label_policy.generated import MOMENTS, SCHEMA, Conditions

TAME = pa.Table.from_pylist(
    [
        {
            "draft_id": f"d{row}",
            "category": text,
            "completion": "a b",
            "edit_kind": kind,
            "reasons": [text],
            "extra": extra,
        }
        | {"shown_at": MOMENTS[row], "accepted_at": MOMENTS[-row], "edited_at": moment, "final_text": text}
        | {"edit_similarity": number, "survey_score": 0.5, "seconds_to_decision": row * 0.1}
        for row, (text, kind, extra, moment, number) in enumerate(
            [
                ("a", "none", '{"k": "v", "slotfree": true}', MOMENTS[0], 0.6),
                ("Billing", "factual", '{"k": "a", "j": {"k": "it"}}', MOMENTS[1], 1.0),
                ("it's", "wording", '{"k": 12}', None, 0.0),
                (" x ", None, None, MOMENTS[3], None),
            ]
        )
    ],
    schema=SCHEMA,
)
"""Rows on which DuckDB's own functions agree with those of a condition."""

CLASSES = {
    "CONSTANT",
    "COLUMN_REF",
    "FUNCTION",
    "CAST",
    "TYPE",
    "OPERATOR",
    "CASE",
    "COMPARISON",
    "CONJUNCTION",
    "BETWEEN",
}
FUNCTIONS = {"+", "-", "*", "/", "~~", "!~~", "abs", "length", "lower", "trim", "translate", "starts_with"}
FUNCTIONS |= {"array_contains", "json_type", "json_extract_string", "to_hours", "to_minutes", "to_seconds", "trunc"}


@pytest.fixture(scope="module")
def tables():
    """A database with the rows in one table, none in another, and nothing else."""
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("tame", TAME)
        connection.execute(
            "CREATE TABLE interactions AS SELECT *, length(completion) / 50.0 AS seconds_to_read FROM tame"
        )
        connection.execute("CREATE TABLE nothing AS SELECT * FROM interactions LIMIT 0")
        connection.unregister("tame")
        yield connection


def policy_of(condition: str) -> Policy:
    rules = [{"id": "r", "when": condition, "label": "abstain", "why": "x"}]
    return Policy(name="p", version=1, description="x", owner="x", reading_speed=50.0, rules=rules)


def nested(template: str) -> str:
    text = "edit_similarity"
    for _ in range(15):
        text = template.format(text)
    return f"{text} = 1"


HOSTILE = [
    "(SELECT TRUE)",
    "EXISTS (SELECT 1 FROM interactions)",
    "EXISTS (FROM interactions)",
    "category IN (SELECT category FROM interactions)",
    "category = ANY (SELECT category FROM interactions)",
    "category = ANY (reasons)",
    "read_csv('/etc/passwd') IS NOT NULL",
    "read_text('/etc/passwd') = 'x'",
    "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
    "getenv('HOME') = 'x'",
    "current_setting('x') = 'y'",
    "now() > shown_at",
    "random() < 0.5",
    "current_timestamp > shown_at",
    "COPY interactions TO '/tmp/x'",
    "ATTACH '/tmp/x'",
    "PRAGMA database_list",
    "DROP TABLE interactions",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET x = 1",
    "SELECT TRUE",
    "FROM interactions",
    "VALUES (TRUE)",
    "WITH x AS (SELECT 1) SELECT TRUE FROM x",
    "TRUE; DROP TABLE interactions",
    "TRUE;",
    "TRUE -- ; DROP TABLE interactions",
    "TRUE /* ; DROP TABLE interactions */",
    "TRUE #comment",
    "TRUE /*",
    "category = 'a' -- 'b'",
    "TRUE UNION SELECT 1",
    "TRUE FROM interactions",
    "TRUE AS x",
    "TRUE, FALSE",
    "TRUE ORDER BY 1",
    "count(*) > 1",
    "sum(edit_similarity) > 1",
    "any_value(category) = 'x'",
    "row_number() OVER () = 1",
    "lower(category) OVER () = 'x'",
    "lower(category) FILTER (WHERE TRUE) = 'x'",
    "lower(DISTINCT category) = 'x'",
    "* IS NULL",
    "interactions.category = 'x'",
    "a.b.category = 'x'",
    '"category" = 1',
    "`category` = 'x'",
    "category = $1",
    "category = ?",
    "@edit_similarity > 1",
    "category::int = 1",
    "CAST(category AS INTEGER) = 1",
    "TRY_CAST(category AS INTEGER) = 1",
    "DATE '2026-01-01' < shown_at",
    "category || 'x' = 'y'",
    "edit_similarity % 2 = 1",
    "reasons[1] = 'x'",
    "{'a': 1} IS NULL",
    "[1] IS NULL",
    "list_transform(reasons, x -> x) IS NULL",
    "extra -> '$.a' IS NULL",
    "regexp_matches(category, '(a+)+b')",
    "category ~ 'x'",
    "category SIMILAR TO 'x'",
    "category COLLATE nocase = 'x'",
    "category LIKE 'x' ESCAPE '!'",
    "category LIKE ANY ('x')",
    "shown_at AT TIME ZONE 'utc' IS NULL",
    "trim(BOTH 'x' FROM category) = 'y'",
    "edit_similarity BETWEEN SYMMETRIC 1 AND 0",
    "(edit_similarity, 1) IN ((1, 1))",
    "edit_similarity IS TRUE",
    "repeat('x', 1000000000) = category",
    "greatest(1, 2) = 2",
    "if(TRUE, TRUE, FALSE)",
    "if(TRUE, TRUE)",
    "X'00' = category",
    "E'\\x41' = category",
    "U&'x' = category",
    "category = 'unclosed",
    "category = 'a''",
    "''' = category",
    "'a' 'b' = category",
    "category = 'a\x00b'",
    "category = 'a\u202eb'",
    "category = 'a\u200bb'",
    "\u0435dited_at IS NULL",
    "edited_at IS NULL\uff1b DROP TABLE x",
    "category \uff1d 'x'",
    "category = \u2019x\u2019",
    "edited_at\u00a0IS NULL",
    "edited_at IS NULL \u2014 x",
    "",
    "   \n",
    ")",
    "(",
    "AND",
    "a AND",
    "1 = 1 1",
    "0x1F = 1",
    "edit_similarity = .",
    "CASE",
    "INTERVAL",
    "(" * 10_000 + "TRUE" + ")" * 10_000,
    "(" * 4_000 + "TRUE" + ")" * 4_000,
    "(" * 40 + "TRUE" + ")" * 40,
    "(" * 9_999,
    "NOT " * 2_400 + "TRUE",
    "- + " * 2_400 + "1 = 1",
    "(NOT (- (" * 1_000,
    "CASE WHEN " * 900,
    "coalesce(" * 1_000,
    "1 = 1" + " + 1" * 2_400,
    "edit_similarity = 1" + " = TRUE" * 1_300,
    "shown_at > shown_at" + " + INTERVAL 1 DAY" * 500,
    "TRUE" + " IS NULL" * 1_000,
    "TRUE AND " * 200_000 + "TRUE",
    "'" + "x" * 1_000_000 + "' = category",
    "category IN (" + "'x', " * 1_900,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[ascii(text[:40]) for text in HOSTILE])
def test_hostile_conditions_are_refused_fast_and_clearly(text):
    start = time.perf_counter()
    with pytest.raises(PolicyError) as caught:
        parse_condition(text)
    assert time.perf_counter() - start < 1
    message = str(caught.value)
    assert 20 < len(message) < 900 and "\n" not in message
    assert message.isprintable(), ascii(message)


def test_look_alikes_are_named():
    with pytest.raises(PolicyError, match=r"'е' \(CYRILLIC SMALL LETTER IE\) at character 1"):
        parse_condition("\u0435dited_at IS NULL")
    with pytest.raises(PolicyError, match=r"FULLWIDTH SEMICOLON"):
        parse_condition("TRUE\uff1b DROP TABLE x")


def test_errors_list_what_is_allowed():
    with pytest.raises(PolicyError, match="may use comparisons, AND, OR, NOT"):
        parse_condition("count(category) > 1")


LEGAL_AND_LONG = [
    " OR ".join(["shown_at IS NULL"] * 490),
    "category IN (" + ", ".join(["'x'"] * 1_900) + ")",
    "(" * 16 + "TRUE" + ")" * 16,
    "CASE WHEN TRUE THEN " * 16 + "TRUE" + " END" * 16,
    "1 = 1" + " + 1" * 60,
    "category LIKE '" + "%a" * 4_000 + "'",
    "abs(- " * 16 + "1" + ")" * 16 + " = 1",
    nested("CASE WHEN {} = 1 THEN 1 WHEN 2 = 2 THEN 2 WHEN 3 = 3 THEN 3 END"),
    nested("coalesce({}, 1, 2, 3)"),
]


@pytest.mark.parametrize("text", LEGAL_AND_LONG, ids=[text[:40] for text in LEGAL_AND_LONG])
def test_the_largest_conditions_are_read_and_run_fast(text, tables):
    start = time.perf_counter()
    condition = parse_condition(text)
    assert time.perf_counter() - start < 1
    start = time.perf_counter()
    run(tables, condition)
    label_with_polars(pl.from_arrow(TAME), policy_of(text))
    assert time.perf_counter() - start < 5


def test_the_deepest_conditions_are_compared_fast():
    """Where ANDs and ORs nest, two parts meet along many paths, four times as many at every level."""
    narrow, wide = "flagged_at IS NULL", "approved_at IS NULL"
    for _ in range(15):
        narrow = f"copied_at IS NULL AND (edited_at IS NULL OR {narrow})"
        wide = f"edited_at IS NULL OR copied_at IS NULL AND ({wide})"
    texts = [wide, narrow, f"category = 'x' AND ({narrow})"]
    rules = [{"id": f"r{at}", "when": text, "label": "abstain", "why": "x"} for at, text in enumerate(texts)]
    policy = Policy(name="p", version=1, description="x", owner="x", rules=rules)
    start = time.perf_counter()
    dead = [finding.rules for finding in review_policy(policy) if finding.kind == "dead_rule"]
    assert time.perf_counter() - start < 1
    assert dead == [("r2",)]


def test_the_largest_policies_are_compared_fast():
    def chain(at: int) -> str:
        word = " AND " if at < 100 else " OR "
        return word.join([f"source = '{at}'", *(f"category = '{at // 100}{part:02}'" for part in range(50))])

    rules = [{"id": f"r{at}", "when": chain(at), "label": "abstain", "why": "x"} for at in range(200)]
    policy = Policy(name="p", version=1, description="x", owner="x", rules=rules)
    start = time.perf_counter()
    review_policy(policy)
    assert time.perf_counter() - start < 5


WITHOUT_END = [
    ("CASE {} WHEN 1 THEN 1 WHEN 2 THEN 2 WHEN 3 THEN 3 WHEN 4 THEN 4 END", "chooses by another CASE"),
    ("CASE WHEN {} BETWEEN 1 AND 2 THEN 1 END", "contains another IN or BETWEEN"),
    ("CASE WHEN 1 BETWEEN {} AND 2 THEN 1 END", "contains another IN or BETWEEN"),
    ("CASE WHEN {} IN (1, 2) THEN 1 END", "contains another IN or BETWEEN"),
]


@pytest.mark.parametrize("template, message", WITHOUT_END)
def test_what_an_engine_would_take_forever_to_read(template, message):
    """Each level would multiply the work of the one below: 15 of them stop DuckDB's binder, or Polars, for hours."""
    start = time.perf_counter()
    with pytest.raises(PolicyError, match=message):
        parse_condition(nested(template))
    assert time.perf_counter() - start < 1


_FRAGMENTS = r"""
    SELECT FROM WHERE ( ) ( ) , ; -- /* */ ' ' '' 'x' " AND OR NOT IS NULL TRUE FALSE = < > <> != == <=> + - * / % ^
    :: . [ ] { } -> ->> || @ # $ $1 ? & | ~ ! \ ` IN BETWEEN LIKE ILIKE GLOB SIMILAR TO ESCAPE CASE WHEN THEN ELSE
    END CAST AS INTEGER DATE INTERVAL DAY MONTH 1 0 2.5 .5 1e9 1e999 0x1F 1_000 category edited_at reasons extra
    edit_similarity shown_at prompt evidence rowid interactions main.interactions information_schema lower upper
    length coalesce trim abs starts_with list_contains json_extract_string '$.a' TIMESTAMPTZ '2026-01-01' read_csv
    read_text read_parquet glob getenv current_setting now random uuid nextval pg_sleep query query_table
    list_transform x -> COPY ATTACH DETACH PRAGMA INSTALL LOAD SET EXPORT CALL CREATE DROP VALUES WITH UNION OVER
    FILTER GROUP BY ORDER LIMIT EXISTS ANY ALL DISTINCT COLLATE COLUMNS(*) * STRUCT MAP ROW if iff try TRY_CAST
    '/etc/passwd' 'x.csv' "category" 'a''b' E'x' X'00' U&'x' $$x$$ é ｅ ； ＝ ′ ʼ ‐ ﬁ ℀
"""
FRAGMENTS = [*_FRAGMENTS.split(), "\u202e", "\xa0", "\u200b", "\ufeff", "\x00"]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(" ".join)))
def test_random_sql_is_refused_or_harmless(tables, text):
    assert_refused_or_harmless(tables, text)


EDITS = st.tuples(st.sampled_from(["insert", "replace", "remove", "swap"]), st.floats(0, 1), st.sampled_from(FRAGMENTS))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.lists(EDITS, max_size=3))
def test_conditions_that_were_tampered_with_are_refused_or_harmless(tables, seed, edits):
    words = re.findall(
        r"'(?:[^']|'')*'|\w+|\s+|.", Conditions(seed, literals=["a", "Billing", "it's", "x y"]).boolean(2)
    )
    for kind, place, fragment in edits:
        at = int(place * (len(words) - 1))
        if kind == "insert":
            words.insert(at, f" {fragment} ")
        elif kind == "replace":
            words[at] = fragment
        elif kind == "swap":
            words[at], words[-1 - at] = words[-1 - at], words[at]
        elif len(words) > 1:
            del words[at]
    assert_refused_or_harmless(tables, "".join(words))


def assert_refused_or_harmless(tables, text: str) -> None:
    """Assert that a text is refused in a second, or reads only columns and means the same in DuckDB."""
    start = time.perf_counter()
    try:
        condition = parse_condition(text)
    except PolicyError as error:
        assert time.perf_counter() - start < 1
        assert str(error).isprintable() and len(str(error)) < 900
        return
    assert time.perf_counter() - start < 1
    assert condition.columns <= CONDITION_COLUMNS.keys()
    assert_reads_columns_only(tables, condition)
    values = run(tables, condition)
    try:
        as_written = tables.sql(f"SELECT ({text}) AS holds FROM interactions").fetchall()
    except duckdb.Error:
        return  # DuckDB refuses some spellings that the parser takes, and decimals overflow where doubles do not
    assert [holds for (holds,) in as_written] == values


def run(tables, condition: Condition) -> list[bool | None]:
    """Run a condition on the rows, and on no rows."""
    sql = condition_tree(policy_of("TRUE"), condition).sql(dialect="duckdb")
    assert tables.sql(f"SELECT {sql} AS holds FROM nothing").fetchall() == []
    return [holds for (holds,) in tables.sql(f"SELECT {sql} AS holds FROM interactions").fetchall()]


def assert_reads_columns_only(tables, condition: Condition) -> None:
    """Ask DuckDB's own parser what the compiled condition consists of."""
    sql = condition_tree(policy_of("TRUE"), condition).sql(dialect="duckdb")
    [(text,)] = tables.execute("SELECT json_serialize_sql(?)", [f"SELECT {sql} FROM interactions"]).fetchall()
    select = json.loads(text)["statements"][0]["node"]
    assert len(select["select_list"]) == 1 and select["from_table"]["type"] == "BASE_TABLE"
    for part in parts(select["select_list"]):
        assert part["class"] in CLASSES
        if part["class"] == "FUNCTION":
            assert part["function_name"] in FUNCTIONS
        if part["class"] == "COLUMN_REF":
            assert len(part["column_names"]) == 1 and part["column_names"][0] in CONDITION_COLUMNS


def parts(node: object) -> Iterator[dict]:
    if isinstance(node, dict) and "class" in node:
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from parts(child)
