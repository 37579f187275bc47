"""docs/label-policies.md is correct: its policy, its worked example, every column, key, function and finding."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from label_policy import (
    CONDITION_COLUMNS,
    Policy,
    PolicyError,
    Rule,
    Tier,
    load_policy,
    parse_policy,
    shipped_policies,
)
from label_policy.checks.policy_findings import Level, review_policy
from label_policy.conditions.grammar import ALLOWED

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "label-policies.md").read_text(encoding="utf-8")
DAY = 24 * 60


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0])


def first_cells() -> set[str]:
    """Return the names in backticks in the first columns of tables."""
    rows = re.findall(r"^\| (`[^|]*`) \|", TEXT, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]*)`", row)}


def test_every_column_key_tier_and_finding_is_explained() -> None:
    modules = [ROOT / "label_policy/checks" / name for name in ("policy_findings.py", "data_findings.py")]
    findings = "".join(module.read_text(encoding="utf-8") for module in modules)
    kinds = set(re.findall(r'\b(?:warning|note)\(\s*"(\w+)"', findings))
    assert len(kinds) > 10
    named = [*CONDITION_COLUMNS, *Policy.model_fields, *Rule.model_fields, *map(str, Tier)]
    assert [name for name in named if name not in first_cells()] == []
    assert [kind for kind in kinds if f"`{kind}`" not in TEXT] == []
    functions = set(re.findall(r"[a-z_]{3,}", ALLOWED.split("'…', ")[1])) - {"and", "reasons", "extra", "key"}
    assert {"coalesce", "abs", "list_contains", "json_extract_string"} <= functions
    assert [function for function in functions if f"`{function}(" not in TEXT] == []


LONG_AGO = -400 * DAY


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("edited_at IS NOT NULL AND NOT (category NOT IN ('a', 'b') OR TRUE)", None, {"edited_at": 1}),
        (
            "coalesce(edit_kind, 'none') = 'none' AND category IS DISTINCT FROM 'test'",
            {"category": None},
            {"category": "test"},
        ),
        (
            "completion LIKE '%refund%' OR starts_with(category, 'bill') OR lower(trim(category)) ILIKE 'x'",
            {"category": " X "},
            {"category": "a bill"},
        ),
        (
            "abs(length(completion) / 2 - 3 * survey_score) BETWEEN 1 AND 2",
            {"completion": "nine here", "survey_score": 1.0},
            {"completion": "nine here", "survey_score": 0.5},
        ),
        (
            "shown_at + INTERVAL 2 HOUR < accepted_at OR shown_at > TIMESTAMPTZ '2026-01-31 00:00:00+00'",
            {"shown_at": LONG_AGO, "accepted_at": LONG_AGO + 121},
            {"shown_at": LONG_AGO, "accepted_at": LONG_AGO + 119},
        ),
        (
            "list_contains(reasons, 'wrong_routing') AND json_extract_string(extra, '$.channel') = 'chat'",
            {"reasons": ["rude", "wrong_routing"], "extra": '{"channel": "chat"}'},
            {"reasons": ["rude", "wrong_routing"], "extra": '{"channel": "mail"}'},
        ),
        ("CASE WHEN survey_score > 0.5 THEN FALSE ELSE TRUE END", {"survey_score": None}, {"survey_score": 1.0}),
    ],
)
def test_what_a_condition_may_say_it_may_say_and_it_means_that(
    condition: str,
    holds: dict[str, Any] | None,
    fails: dict[str, Any],
    decide: Callable[[Policy, list[dict[str, Any]]], list[dict[str, Any]]],
    interaction: Callable[..., dict[str, Any]],
) -> None:
    rules = [{"id": "told", "when": condition, "label": "abstain", "why": "x"}]
    policy = Policy(name="p", version=1, description="x", owner="x", rules=rules)
    if holds is not None:
        assert decide(policy, [interaction(**holds)])[0]["rule"] == "told"
    assert decide(policy, [interaction(**fails)])[0]["rule"] == "no_rule"


def test_the_whole_policy_has_nothing_odd_about_it(policy: Policy) -> None:
    assert [finding.message for finding in review_policy(policy) if finding.level is Level.WARNING] == []
    assert set(Policy.model_fields) == policy.model_fields_set


def test_digests_and_errors_are_as_shown(policy: Policy) -> None:
    assert f"help-desk 1, digest {policy.digest[:16]}: 8 rules" in TEXT
    shipped = load_policy(shipped_policies()["harbor-support.v1"])
    assert f"harbor-support 1 ({shipped.digest[:12]})" in TEXT
    [shown] = re.findall(r"`(desk\.yaml:[^`]*)`", TEXT)
    text = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0]
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.replace("'factual'", "'factua'", 1), where="desk.yaml")
    assert str(caught.value) == shown


def test_labels_mature_as_in_the_worked_example(
    policy: Policy, decide: Callable, interaction: Callable[..., dict[str, Any]], at: Callable
) -> None:
    cases = [
        ({}, "accepted", 2 + 7 * DAY),
        ({"thumbs_down_at": 3}, "thumbs_down", 2),
        ({"reopened_at": 2 * DAY}, "reopened_after_send", 2),
        ({"escalated_at": DAY}, "escalated", 2 + 7 * DAY),
    ]
    accepted = {"accepted_at": 2, "seconds_to_decision": 120.0, "final_text": "Reset it.", "edit_kind": "none"}
    rows = decide(policy, [interaction(**accepted, **more) for more, _, _ in cases])
    assert [(row["rule"], row["matures_at"]) for row in rows] == [(rule, at(final)) for _, rule, final in cases]
