"""Conditions: what they may hold, how they are typed, and that nothing else gets through."""

import time

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import DECISION_SIGNALS, DIALECTS, SIGNALS, Policy, PolicyError, parse_condition

ALLOWED = [
    "TRUE",
    "accepted_at IS NOT NULL AND NOT (edited_at IS NOT NULL)",
    "Accepted_At IS NULL",
    "edit_similarity < 0.6 OR edit_similarity BETWEEN 0.8 AND 1",
    "edit_kind IN ('factual', 'substantive') AND edit_kind NOT IN ('none')",
    "category ILIKE '%billing%' AND category NOT LIKE 'x_'",
    "reopened_at > accepted_at + INTERVAL 3 DAY",
    "reopened_at - INTERVAL '36 hours' <= coalesce(decided_at, shown_at)",
    "shown_at >= TIMESTAMPTZ '2026-01-31 00:00:00+01' AND shown_at < TIMESTAMP '2027-01-01'",
    "seconds_to_decision < length(completion) / 25 + 1.5",
    "abs(edit_similarity - 0.5) * 2 > -0.25",
    "list_contains(reasons, 'wrong_routing') OR list_contains(reasons, 'it''s')",
    "json_extract_string(extra, '$.survey.score') = '5'",
    "json_extract_string(extra, '$.slotfree') BETWEEN 'a' AND 'z'",
    "CASE WHEN edit_kind = 'none' THEN TRUE WHEN edit_kind IS NULL THEN NULL ELSE edit_similarity > 0.9 END",
    "CASE source WHEN 'chat' THEN 1 ELSE 2 END = 1",
    "lower(trim(final_text)) = upper('x') AND starts_with(model_version, 'v')",
    "final_text IS DISTINCT FROM completion AND draft_id IS NOT DISTINCT FROM ticket_id",
    "category = 'ремонт; -- \"[{`' AND category <> '漢字 😀'",
    "(((TRUE)))",
    " OR ".join(f"category = 'c{i}'" for i in range(400)),
]


@pytest.mark.parametrize("text", ALLOWED, ids=[text[:40] for text in ALLOWED])
def test_allowed(text, decide, interaction):
    policy = Policy(
        name="p",
        version=1,
        description="x",
        owner="x",
        rules=[{"id": "r", "when": text, "label": "abstain", "why": "x"}],
    )
    assert policy.rules[0].condition.text == text
    [row] = decide(policy, [interaction(accepted_at=1, category="c7", extra='{"slotfree": true}')])
    assert row["rule"] in ("r", "no_rule")
    for dialect in DIALECTS:
        sqlglot.parse_one(policy.rules[0].condition.tree.sql(dialect=dialect), dialect=dialect)


def test_columns_and_signals_are_known():
    condition = parse_condition("Edit_Similarity < 0.5 AND decided_at > shown_at AND list_contains(reasons, 'x')")
    assert condition.columns == {"edit_similarity", "decided_at", "shown_at", "reasons"}
    assert condition.signals == set(SIGNALS)  # a reason can come with any of them
    assert parse_condition("edit_kind = 'none' AND flagged_at IS NULL").signals == {"edited", "flagged"}
    assert parse_condition("seconds_to_decision < 2").signals == set(DECISION_SIGNALS)


BADLY_TYPED = [
    ("edit_similarity < 'high'", ["edit_similarity is a number", "'high' is text"]),
    ("accepted_at = 'yesterday'", ["accepted_at is a time", "'yesterday' is text"]),
    ("accepted_at", ["must be true or false", "accepted_at is a time"]),
    ("edit_similarity", ["is a number"]),
    ("'text'", ["is text"]),
    ("NULL", ["is NULL"]),
    ("accepted_at AND TRUE", ["accepted_at is a time where true or false is needed"]),
    ("NOT edit_kind", ["edit_kind is text where true or false is needed"]),
    ("edited_at = NULL", ["write IS NULL"]),
    ("category IN ('a', NULL)", ["write IS NULL"]),
    ("category IN ('a', 3)", ["3 is a number"]),
    ("category IN (source)", ["plain values only"]),
    ("category IN ()", ["list of values"]),
    ("'x' IN reasons", ["list"]),
    ("reasons = reasons", ["list_contains"]),
    ("reasons IN ('a')", ["text"]),
    ("reasons LIKE 'x'", ["reasons is a list of text where text is needed"]),
    ("list_contains(category, 'x')", ["category is text where a list of text is needed"]),
    ("list_contains(reasons, category)", ["text in quotes"]),
    ("edit_kind = 'factaul'", ["edit_kind is never 'factaul'", "did you mean 'factual'"]),
    ("edit_kind IN ('none', 'heavy')", ["edit_kind is never 'heavy'"]),
    ("'heavy' <> edit_kind", ["never 'heavy'"]),
    ("CASE edit_kind WHEN 'light' THEN TRUE END", ["never 'light'"]),
    ("TRUE < FALSE", ["has none"]),
    ("accepted_at + edited_at > shown_at", ["combines two times"]),
    ("accepted_at - shown_at < INTERVAL 1 DAY", ["combines two times", "compare them instead"]),
    ("accepted_at + 3 > shown_at", ["a time and a number"]),
    ("INTERVAL 1 DAY + shown_at > accepted_at", ["a time span and a time"]),
    ("edit_similarity / 0 > 1", ["other than 0"]),
    ("1 / edit_similarity > 1", ["other than 0"]),
    ("length(reasons) > 1", ["where text is needed"]),
    ("lower(edit_similarity) = 'x'", ["where text is needed"]),
    ("abs(category) > 1", ["where a number is needed"]),
    ("coalesce(category, 1) = 'x'", ["both sides must be of one type"]),
    ("coalesce(category, NULL) = 'x'", ["NULL"]),
    ("CASE WHEN category THEN TRUE END", ["where true or false is needed"]),
    ("CASE WHEN TRUE THEN NULL END", ["NULL"]),
    ("CASE WHEN TRUE THEN 1 ELSE 'x' END = 1", ["one type"]),
    ("category LIKE source", ["pattern in quotes"]),
    ("category LIKE 'a\\%'", ["backslash"]),
    ("shown_at > INTERVAL 1 MONTH", ["fixed length"]),
    ("shown_at > shown_at + INTERVAL 1.00001 SECOND", ["whole number of seconds"]),
    ("shown_at > shown_at + INTERVAL '3 days 2 hours'", ["fixed length"]),
    ("shown_at > shown_at + INTERVAL 'x' DAY", ["readable number"]),
    ("shown_at > shown_at + INTERVAL 99999999999999999999 DAY", ["INTERVAL"]),
    ("shown_at > TIMESTAMPTZ 'soon'", ["'soon' is not a time"]),
    ("shown_at > TIMESTAMPTZ '0001-01-01 00:00:00+23:00'", ["not a time"]),
    ("edit_similarity < 1e999", ["beyond"]),
    ("edit_similarity < 99999999999999999999", ["beyond"]),
    ("edited_att IS NULL", ["no column 'edited_att'", "did you mean 'edited_at'"]),
    ("prompt = 'x'", ["no column 'prompt'"]),
    ("evidence IS NULL", ["no column 'evidence'"]),
    ("zzzzzz = 1", ["the columns are draft_id"]),
    ("json_extract_string(completion, '$.a') = 'x'", ["'extra' only"]),
    ("json_extract_string(extra, '$') = 'x'", ["plain keys"]),
    ("json_extract_string(extra, '$.a[0]') = 'x'", ["plain keys"]),
    ("json_extract_string(extra, '$.*') = 'x'", ["plain keys"]),
    ("json_extract_string(extra, category) = 'x'", ["plain keys"]),
]


@pytest.mark.parametrize("text, parts", BADLY_TYPED, ids=[text for text, _ in BADLY_TYPED])
def test_badly_typed(text, parts):
    with pytest.raises(PolicyError) as caught:
        parse_condition(text)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


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


FRAGMENTS = """
    SELECT FROM WHERE ( ) ( ) , ; -- /* */ ' ' '' 'x' " AND OR NOT IS NULL TRUE = < > <> + - * / :: . [ ] { } -> ->> IN
    BETWEEN LIKE CASE WHEN THEN ELSE END CAST AS INTEGER INTERVAL DAY 1 2.5 1e9 category edited_at reasons extra count
    edit_similarity interactions lower length coalesce read_csv COPY ATTACH PRAGMA OVER UNION EXISTS ANY DISTINCT if
    list_contains json_extract_string '$.a' TIMESTAMPTZ $1 ? \\ é ； ‮
"""


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(FRAGMENTS.split()), max_size=25).map(" ".join)))
def test_random_sql_is_refused_or_harmless(text):
    """Whatever gets through reads interaction columns alone: DuckDB runs it over one row, with nothing else there."""
    try:
        condition = parse_condition(text)
    except PolicyError as error:
        assert str(error) and "\n" not in str(error)
        return
    with duckdb.connect() as connection:
        connection.execute("SET enable_external_access = false")
        row = "(SELECT NULL::VARCHAR AS category, NULL::VARCHAR AS extra, NULL::VARCHAR[] AS reasons, "
        row += "NULL::DOUBLE AS edit_similarity, NULL::TIMESTAMPTZ AS edited_at)"
        query = f"SELECT {condition.tree.sql(dialect='duckdb')} AS holds FROM {row}"
        assert connection.execute(query).fetchone()[0] in (True, False, None)
