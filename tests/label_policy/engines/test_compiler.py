"""The compiled query: its columns, its maturity, its dialects and its relation."""

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from label_policy import (
    DIALECTS,
    INTERACTION_COLUMNS,
    SIGNALS,
    WHITE_SPACE,
    Policy,
    PolicyError,
    ValueType,
    compile_policy,
    compile_sent_texts,
    load_policy,
    shipped_policies,
)
from label_policy.engines.compiler import condition_tree
from tests.label_policy.generated import policy

TIMES = [name for name, kind in INTERACTION_COLUMNS.items() if kind is ValueType.TIME]


def rule(name: str, when: str) -> dict:
    return {"id": name, "when": when, "label": "undesirable", "tier": "weak", "weight": 1, "why": "x"}


def policy_of(*rules: dict, maturity: dict | None = None) -> Policy:
    return Policy(name="p", version=1, description="x", owner="x", maturity=maturity or {}, rules=rules)


def test_every_rule_abstaining_still_types_the_columns(decide, interaction):
    policy = policy_of({"id": "r", "when": "FALSE", "label": "abstain", "why": "x"})
    [row] = decide(policy, [interaction()])
    assert (row["tier"], row["weight"], row["rule"]) == (None, 0.0, "no_rule")


MATURITY = [
    # (row's signals, the rule that decides, minutes from the showing to maturity)
    ({"thumbs_down_at": 1}, "down", 0),
    ({"thumbs_down_at": 1, "accepted_at": 5}, "down", 5),
    ({"reopened_at": 60, "accepted_at": 5}, "reopened", 5),  # all that the first two rules read has happened
    ({"accepted_at": 5}, "accepted", 5 + 7 * 1440),
    ({"dismissed_at": 1, "accepted_at": 600}, "accepted", 600 + 7 * 1440),  # from the last decision on
    ({"reopened_at": 2, "accepted_at": 5}, "reopened", 5 + 7 * 1440),  # it may be reopened again, after the reply
    ({"accepted_at": 5, "reopened_at": None, "escalated_at": 30, "category": "x"}, "escalated", 5 + 7 * 1440),
    ({"reopened_at": 2, "escalated_at": 30, "shown_at": 0}, "reopened", 0),
    ({"copied_at": 3}, "no_rule", 3 + 7 * 1440),  # no rule holds, so every rule has been read
]


@pytest.mark.parametrize("signals, name, minutes", MATURITY)
def test_maturity_waits_for_what_has_been_read_and_not_happened(decide, interaction, at, signals, name, minutes):
    policy = policy_of(
        rule("down", "thumbs_down_at IS NOT NULL"),
        rule("reopened", "reopened_at IS NOT NULL"),
        rule("escalated", "escalated_at IS NOT NULL AND category = 'x'"),
        rule("accepted", "accepted_at IS NOT NULL"),
        maturity={"reopened": "7d", "escalated": "3d", "resolved": "99d"},  # nothing reads resolved
    )
    [row] = decide(policy, [interaction(**signals)])
    assert (row["rule"], row["matures_at"]) == (name, at(minutes))


@pytest.mark.parametrize("when", ["edit_kind = 'none'", "edit_similarity > 0.9", "final_text = 'Reset it.'"])
def test_a_rule_that_reads_what_was_sent_waits_for_an_accept(decide, interaction, at, when):
    policy = policy_of(rule("r", when), maturity={"accepted": "3d"})
    edited = interaction(edited_at=5, edit_kind="none", edit_similarity=1.0, final_text="Reset it.")
    assert [row["matures_at"] for row in decide(policy, [edited, interaction(accepted_at=5)])] == [
        at(5 + 3 * 1440),
        at(5),
    ]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_rule_that_reads_who_reacted_waits_for_anybody(decide, interaction, at, signal):
    policy = policy_of(rule("r", "agent_id = 'bot'"), maturity={signal: "3d"})
    [row] = decide(policy, [interaction(agent_id="bot")])
    assert (row["rule"], row["matures_at"]) == ("r", at(3 * 1440))


def test_equal_windows_and_other_columns_pass_through(connection):
    policy = policy_of(rule("r", "accepted_at IS NULL AND edited_at IS NULL"), maturity={"accepted": "1d"})
    columns = ", ".join(f"NULL::TIMESTAMPTZ AS {name}" for name in TIMES)
    connection.sql(f"CREATE OR REPLACE VIEW wide AS SELECT 7 AS prompt, {columns}")
    result = connection.sql(compile_policy(policy, relation="main.wide"))
    assert result.columns == ["prompt", *TIMES, "rule", "label", "tier", "weight", "matures_at"]


@pytest.mark.parametrize("name", shipped_policies())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_shipped_policies_parse_back_in_every_dialect(name, dialect):
    policy = load_policy(shipped_policies()[name])
    text = compile_policy(policy, relation="lake.interactions", dialect=dialect)
    [query] = sqlglot.parse(text, dialect=dialect)
    assert [item.alias_or_name for item in query.expressions] == ["*", "label", "tier", "weight", "matures_at"]
    for policy_rule in policy.rules:
        assert f"'{policy_rule.id}'" in text


ESCAPED = "".join(f"\\u{ord(mark):04x}" for mark in WHITE_SPACE)
BYTES = "".join(f"\\x{byte:02x}" for byte in WHITE_SPACE.encode())
WRITTEN = {
    "bigquery": [
        ("shown_at + INTERVAL 3 DAY > edited_at", "shown_at + INTERVAL 72 HOUR > edited_at"),
        ("trim(category) = 'a\nb'", rf"TRIM(category, '{ESCAPED}') = 'a\nb'"),
        (
            "category ILIKE 'it''s'",
            r"LOWER(TRANSLATE(category, 'İΣ', 'iσ')) LIKE LOWER(TRANSLATE('it\'s', 'İΣ', 'iσ'))",
        ),
        ("length(category) < 3", "CAST(LENGTH(category) AS FLOAT64) < CAST(3.0 AS FLOAT64)"),
        ("shown_at > TIMESTAMP '2026-01-31'", "shown_at > CAST('2026-01-31 00:00:00+00:00' AS TIMESTAMP)"),
    ],
    "snowflake": [
        ("shown_at + INTERVAL 3 DAY > edited_at", "shown_at + INTERVAL '72 HOUR' > edited_at"),
        ("trim(category) = 'a\\b'", rf"TRIM(category, '{ESCAPED}') = 'a\\b'"),
        ("list_contains(reasons, 'x')", "COALESCE(ARRAY_CONTAINS(CAST('x' AS VARIANT), reasons), FALSE)"),
        ("shown_at > TIMESTAMP '2026-01-31'", "shown_at > CAST('2026-01-31 00:00:00+00:00' AS TIMESTAMPTZ)"),
    ],
    "spark": [
        ("trim(category) = ''", f"TRIM('{ESCAPED}' FROM category) = ''"),
        ("category = '\t''\\'", r"category = '\t\'\\'"),
        ("lower(category) = 'x'", "LOWER(TRANSLATE(category, 'İΣ', 'iσ')) = 'x'"),
    ],
    "postgres": [
        ("trim(category) = ''", f"TRIM(E'{BYTES}' FROM category) = ''"),
        ("category < 'b'", "category COLLATE \"C\" < 'b'"),
        ("category = 'b'", "category = 'b'"),
        (
            "CASE WHEN TRUE THEN 'a' END BETWEEN 'a' AND 'b'",
            "CASE WHEN TRUE THEN 'a' END COLLATE \"C\" BETWEEN 'a' AND 'b'",
        ),
    ],
    "duckdb": [
        ("category ILIKE 'X%'", "LOWER(category) LIKE LOWER('X%')"),
        ("category NOT ILIKE 'X%'", "LOWER(category) NOT LIKE LOWER('X%')"),
        ("edit_similarity * 2 < 1e15", "edit_similarity * CAST(2.0 AS DOUBLE) < CAST(1000000000000000.0 AS DOUBLE)"),
        ("trim(category) = ''", f"TRIM(category, E'{BYTES}') = ''"),
    ],
}


@pytest.mark.parametrize("dialect, when, sql", [(dialect, *case) for dialect in WRITTEN for case in WRITTEN[dialect]])
def test_what_is_written_where_engines_differ(dialect, when, sql):
    policy = policy_of(rule("r", when))
    assert condition_tree(policy, policy.rules[0].condition, dialect).sql(dialect=dialect) == sql


def test_the_last_decision_in_bigquery_is_not_null_where_one_is_known():
    """BigQuery's GREATEST is NULL if one of its arguments is."""
    text = compile_policy(policy_of(rule("r", "TRUE")), dialect="bigquery")
    assert "GREATEST" not in text and "MAX(moment)" in text


@pytest.mark.parametrize("dialect", DIALECTS)
def test_generated_policies_parse_back_in_every_dialect(dialect):
    generated = policy(1, conditions=25)
    for text in (compile_policy(generated, dialect=dialect), compile_sent_texts(generated, dialect=dialect)):
        [query] = sqlglot.parse(text, dialect=dialect)
        assert not [*query.find_all(exp.Command)]


@pytest.mark.parametrize(
    "relation",
    ["read_csv('x')", "(SELECT 1)", "a; DROP TABLE b", "", "a JOIN b", "a AS b", "a, b", "'x.csv'", "a WHERE TRUE"],
)
def test_relations_that_are_no_table(relation):
    with pytest.raises(PolicyError, match="is not the name of a table"):
        compile_policy(load_policy(shipped_policies()["star.v1"]), relation=relation)


def test_relations_that_need_quotes(connection):
    connection.sql('CREATE OR REPLACE TABLE "odd name" AS SELECT NULL::JSON AS extra')
    policy = policy_of(rule("r", "extra IS NULL"))
    with pytest.raises(duckdb.BinderException, match="accepted_at"):
        connection.sql(compile_policy(policy, relation='"odd name"'))


def test_unknown_dialects():
    with pytest.raises(PolicyError, match="no dialect 'oracle'; choose one of duckdb, spark"):
        compile_policy(load_policy(shipped_policies()["star.v1"]), dialect="oracle")
