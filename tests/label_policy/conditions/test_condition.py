"""Conditions: their allowed elements and their types."""

import pytest
import sqlglot

from label_policy import DECISION_SIGNALS, DIALECTS, SIGNALS, Policy, PolicyError, parse_condition
from label_policy.engines.compiler import condition_tree

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
    "lower(trim(final_text)) = lower('X') AND starts_with(model_version, 'v')",
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
        sqlglot.parse_one(
            condition_tree(policy, policy.rules[0].condition, dialect).sql(dialect=dialect), dialect=dialect
        )


def test_columns_and_signals_are_known():
    condition = parse_condition("Edit_Similarity < 0.5 AND decided_at > shown_at AND list_contains(reasons, 'x')")
    assert condition.columns == {"edit_similarity", "decided_at", "shown_at", "reasons"}
    assert condition.signals == set(SIGNALS)  # a reason can come with any of them
    assert parse_condition("edit_kind = 'none' AND flagged_at IS NULL").signals == {"accepted", "edited", "flagged"}
    assert parse_condition("agent_id = 'bot'").signals == set(SIGNALS)
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
    ("category IN ('a', NULL)", ["add IS NULL"]),
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
    ("TRUE < FALSE", ["a type without order"]),
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
    ("edit_similarity < 1e", ["1e is not a number"]),
    ("edit_similarity < 1e-16", ["closer to 0"]),
    ("edit_similarity < 1e-999", ["closer to 0"]),
    ("edit_similarity < 0.001" + " * 2" * 17, ["17 times"]),
    ("edit_similarity" + " / 2" * 17 + " < 1", ["17 times"]),
    ("upper(category) = 'X'", ["'ß'", "lower"]),
    ("category = '${env:HOME}'", ["'${'", "Spark"]),
    ("INTERVAL 1 DAY < INTERVAL 2 DAY", ["an INTERVAL stands alone"]),
    ("INTERVAL 1 DAY IS NULL", ["an INTERVAL stands alone"]),
    ("shown_at + coalesce(INTERVAL 1 DAY, INTERVAL 2 DAY) > decided_at", ["an INTERVAL stands alone"]),
    ("category = 'a' = TRUE", ["put parentheses around category = 'a'"]),
    ("NOT (TRUE) = NOT TRUE", ["put parentheses around NOT TRUE"]),
    ("edit_similarity < 0.5 = (edit_similarity > 0.1)", ["put parentheses around edit_similarity < 0.5"]),
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
