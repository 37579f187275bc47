"""Counts of each rule on data, tested against the compiled policy; findings; and traces of one interaction."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import (
    INTERACTION_COLUMNS,
    Policy,
    Tier,
    ValueType,
    compile_policy,
    compile_sent_texts,
    load_policy,
    parse_policy,
    shipped_policies,
)
from label_policy.checks.data_findings import review_coverage
from label_policy.checks.policy_findings import Finding, Level, review_policy
from label_policy.checks.rule_counts import measure_coverage
from label_policy.engines.trace import awaited_windows, split_condition, trace_rules, trace_sent_text

TYPES = {
    ValueType.TEXT: pa.string(),
    ValueType.NUMBER: pa.float64(),
    ValueType.TIME: pa.timestamp("us", "UTC"),
    ValueType.TEXTS: pa.list_(pa.string()),
}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, kind in INTERACTION_COLUMNS.items()])
HEAD = "name: desk\nversion: 1\ndescription: A desk.\nowner: support\n"


def make_policy(*conditions: str, more: str = "") -> Policy:
    """A policy of alternating desirable and undesirable rules, named r0, r1, …"""
    rules = "".join(
        f'  - {{id: r{i}, when: "{when}", label: {"un" * (i % 2)}desirable, tier: strong, weight: 1, why: x}}\n'
        for i, when in enumerate(conditions)
    )
    return parse_policy(f"{HEAD}{more}rules:\n{rules}")


@pytest.fixture(scope="session")
def looking_at(connection: duckdb.DuckDBPyConnection) -> Callable[..., duckdb.DuckDBPyConnection]:
    """The connection, with these rows as its interactions."""

    def look(*rows: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        connection.register("interactions", pa.Table.from_pylist(rows, schema=SCHEMA))
        return connection

    return look


# Three columns that are x, y or missing: every row that there can be, as far as three atoms tell rows apart.
ATOMS = ("agent_id = 'x'", "source = 'x'", "category = 'x'", "agent_id IS NULL", "category IS NOT NULL")
VALUES = ("x", "y", None)
ROWS = [
    {"agent_id": a, "source": b, "category": c, "shown_at": datetime(2026, 3, 2, tzinfo=UTC)}
    for a in VALUES
    for b in VALUES
    for c in VALUES
]
CONDITIONS = st.recursive(
    st.sampled_from((*ATOMS, "TRUE", "1 = 2")),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(" + " AND ".join(parts) + ")"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "(" + " OR ".join(parts) + ")"),
        inner.map(lambda part: f"(NOT {part})"),
    ),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None)
@given(conditions=st.lists(CONDITIONS, min_size=2, max_size=4))
def test_counts_are_the_compiled_policys_and_a_dead_rule_never_decides(
    looking_at: Callable[..., duckdb.DuckDBPyConnection], conditions: list[str]
) -> None:
    policy = make_policy(*conditions)
    connection = looking_at(*ROWS)
    coverage = measure_coverage(connection, policy)
    labelled = f"SELECT rule, count(*) FROM ({compile_policy(policy)}) GROUP BY rule"
    decided = dict(connection.execute(labelled).fetchall())
    counts = ", ".join(f"count(*) FILTER ({text}), count(*) FILTER (({text}) IS NULL)" for text in conditions)
    [alone] = connection.execute(f"SELECT {counts} FROM interactions").fetchall()
    for position, rule in enumerate(coverage.rules):
        assert (rule.holds, rule.unknown) == alone[2 * position : 2 * position + 2]
        assert rule.decides == decided.get(rule.rule, 0)
        assert rule.holds == rule.decides + sum(rule.taken_by.values())
    assert coverage.undecided == decided.get("no_rule", 0)
    dead = {rule for finding in review_policy(policy) if finding.kind == "dead_rule" for rule in finding.rules}
    assert not any(rule.decides for rule in coverage.rules if rule.rule in dead)


@settings(max_examples=30, deadline=None)
@given(conditions=st.lists(CONDITIONS, min_size=1, max_size=3), row=st.sampled_from(ROWS))
def test_a_trace_agrees_with_the_compiled_policy_and_its_parts_with_the_whole(
    looking_at: Callable[..., duckdb.DuckDBPyConnection], conditions: list[str], row: dict[str, Any]
) -> None:
    policy = make_policy(*conditions)
    connection = looking_at(row)
    traces = trace_rules(connection, policy, relation="interactions")
    [(rule,)] = connection.execute(f"SELECT rule FROM ({compile_policy(policy)})").fetchall()
    assert [trace.rule for trace in traces if trace.outcome == "decides"] == ([rule] if rule != "no_rule" else [])
    for trace in traces:
        parts = [part.holds for part in trace.parts]
        if trace.joined is None:
            assert parts == [trace.holds]
        elif trace.joined == "AND":
            assert trace.holds == (False if False in parts else None if None in parts else True)
        else:
            assert trace.holds == (True if True in parts else None if None in parts else False)
    reached = [trace.outcome != "not reached" for trace in traces]
    assert reached == sorted(reached, reverse=True)


@pytest.mark.parametrize(
    ("text", "joined", "parts"),
    [
        ("a", None, ["a"]),
        ("a AND b", "AND", ["a", "b"]),
        ("a AND b OR c AND d", "OR", ["a AND b", "c AND d"]),
        ("a BETWEEN 1 AND 2 AND b", "AND", ["a BETWEEN 1 AND 2", "b"]),
        ("a NOT BETWEEN b AND c OR d", "OR", ["a NOT BETWEEN b AND c", "d"]),
        ("(a AND b) OR NOT (c OR d)", "OR", ["(a AND b)", "NOT (c OR d)"]),
        ("CASE WHEN a AND b THEN c ELSE d OR e END AND f", "AND", ["CASE WHEN a AND b THEN c ELSE d OR e END", "f"]),
        ("a = 'x  AND\ny' and\n b", "AND", ["a = 'x  AND\ny'", "b"]),
    ],
)
def test_a_condition_splits_where_its_outermost_words_join_it(text: str, joined: str | None, parts: list[str]) -> None:
    assert split_condition(text) == (joined, parts)


SENT = """\
reading_speed: 20
sent_text: {when: "edit_kind <> 'cosmetic'", tier: weak, weight: 0.5, why: x}
"""
EDITS = [
    # (what the draft's interaction says beside its completion 'Hi there', whether the sent text is a row)
    ({"edited_at": 5, "final_text": "Hello", "edit_kind": "wording"}, True),
    ({"edited_at": 5, "final_text": "Hi  there", "edit_kind": "cosmetic"}, False),
    ({"edited_at": 5, "final_text": "Hi there", "edit_kind": "none"}, False),
    ({"edited_at": 5, "final_text": " ", "edit_kind": "substantive"}, False),
    ({"edited_at": 5}, None),
    ({"final_text": "Hello", "edit_kind": "wording"}, False),
]


def test_sent_texts_are_counted_and_traced_as_they_are_compiled(
    looking_at: Callable[..., duckdb.DuckDBPyConnection], interaction: Callable[..., dict[str, Any]]
) -> None:
    policy = make_policy("edited_at IS NULL", more=SENT)
    rows = [interaction(draft_id=f"d{i}", completion="Hi there", **given) for i, (given, _) in enumerate(EDITS)]
    coverage = measure_coverage(looking_at(*rows), policy)
    assert (coverage.edited, coverage.sent_texts) == (2, 1)
    for row, (_, expected) in zip(rows, EDITS, strict=True):
        connection = looking_at(row)
        trace = trace_sent_text(connection, policy, relation="interactions")
        [(made,)] = connection.execute(f"SELECT count(*) FROM ({compile_sent_texts(policy)})").fetchall()
        assert trace.holds is expected
        assert made == (trace.holds is True)


def test_what_a_rule_waits_for_is_what_it_and_the_rules_above_it_read() -> None:
    maturity = "maturity: {reopened: 7d, escalated: 3d, surveyed: 1d}\n"
    policy = make_policy("flagged_at IS NOT NULL", "reopened_at IS NULL", "survey_score > 0.5", more=maturity + SENT)
    assert list(awaited_windows(policy, "r0")) == []
    assert list(awaited_windows(policy, "r1")) == ["reopened"]
    assert set(awaited_windows(policy, "no_rule")) == {"reopened", "surveyed"}
    assert list(awaited_windows(policy, "sent_text")) == []


def test_what_was_sent_waits_for_what_else_may_be_sent(
    looking_at: Callable[..., duckdb.DuckDBPyConnection], interaction: Callable[..., dict[str, Any]], at: Callable
) -> None:
    """A later accept can bring another text, although no rule and no section condition reads it."""
    policy = make_policy("flagged_at IS NOT NULL", more=f"maturity: {{accepted: 3d, reopened: 7d}}\n{SENT}")
    assert list(awaited_windows(policy, "sent_text")) == ["accepted"]
    edited = interaction(edited_at=5, final_text="Hello", edit_kind="wording")
    rows = [edited | {"draft_id": "open"}, edited | {"draft_id": "sent", "accepted_at": at(6)}]
    query = f"SELECT draft_id, matures_at FROM ({compile_sent_texts(policy)})"
    matures = dict(looking_at(*rows).execute(query).fetchall())
    assert matures == {"open": at(5 + 3 * 1440), "sent": at(6)}
    assert "wait_for_nothing" in [f.kind for f in review_policy(policy)]
    assert [f.message[:17] for f in review_policy(policy) if f.kind == "wait_for_nothing"] == ["maturity.reopened"]


def kinds(findings: list[Finding], level: Level) -> list[str]:
    return [finding.kind for finding in findings if finding.level is level]


def test_data_show_what_a_rule_does_not_get_to_decide(
    looking_at: Callable[..., duckdb.DuckDBPyConnection], interaction: Callable[..., dict[str, Any]]
) -> None:
    policy = make_policy(
        "accepted_at IS NOT NULL",
        "thumbs_up_at IS NOT NULL OR copied_at IS NOT NULL",
        "copied_at > decided_at",
        "survey_score < 0.5",
        "flagged_at IS NOT NULL",
    )
    rows = [
        *(interaction(accepted_at=1, copied_at=2) for _ in range(3)),
        interaction(rejected_at=1, copied_at=2),
        interaction(dismissed_at=3, repeat_contact_at=9),
        interaction(preferred_at=0),
    ]
    findings = review_coverage(policy, measure_coverage(looking_at(*rows), policy))
    messages = {finding.kind: finding.message for finding in findings}
    assert kinds(findings, Level.WARNING) == ["shadowed", "undecided_rankings", *["unread_signal"] * 4]
    assert messages["shadowed"] == (
        "rule 'r2' holds on 4 interactions and decides none, taken by 'r0' (3), 'r1' (1) above it; "
        "move it up, narrow those, or remove it"
    )
    assert messages["undecided_rankings"].startswith("1 of 1 texts of rankings")
    unread = {finding.message.split("'")[1] for finding in findings if finding.kind == "unread_signal"}
    assert unread == {"rejected", "dismissed", "repeat_contact", "preferred"}, "decided_at says not which decision"
    assert "rule 'r3' is unknown (NULL) on all of 6 interactions: 'surveyed' never came" in messages["always_null"]
    assert messages["not_fired"] == (
        "not fired on 6 interactions from 2026-10-05 to 2026-10-05: r4; the rules may still be right"
    )
    assert review_coverage(policy, measure_coverage(looking_at(), policy)) == []


def test_a_rule_that_is_dead_in_any_case_is_not_called_shadowed_too(
    looking_at: Callable[..., duckdb.DuckDBPyConnection], interaction: Callable[..., dict[str, Any]]
) -> None:
    policy = make_policy("accepted_at IS NOT NULL", "accepted_at IS NOT NULL AND edited_at IS NULL")
    assert kinds(review_policy(policy), Level.WARNING) == ["dead_rule"]
    coverage = measure_coverage(looking_at(interaction(accepted_at=1)), policy)
    assert kinds(review_coverage(policy, coverage), Level.WARNING) == []


TIERS = """\
audit: {precision: {critical: 0.9, strong: 0.9}}
training: {tiers: [strong, weak], weights: {explicit: 2, strong: 0.5}}
"""


@pytest.mark.parametrize(
    ("conditions", "more", "warnings"),
    [
        (["accepted_at IS NOT NULL", "rejected_at IS NOT NULL"], "", []),
        (
            ["flagged_at IS NOT NULL", "NOT (flagged_at is null)"],
            "",
            ["rule 'r1' can never decide: 'r0' above it has the same condition; remove one of them"],
        ),
        (
            ["1 < 2", "flagged_at IS NOT NULL"],
            "",
            ["rule 'r1' can never decide: 'r0' above it always holds; move 'r0' to the end"],
        ),
        (
            ["'a' LIKE 'b%'", "flagged_at IS NOT NULL"],
            "",
            ["rule 'r0' can never decide: its condition reads nothing and never holds; remove it"],
        ),
        (
            ["flagged_at IS NOT NULL OR copied_at IS NOT NULL", "copied_at IS NOT NULL AND edit_kind = 'none'"],
            "",
            [
                "rule 'r1' can never decide: wherever it holds, 'r0' above it holds too; "
                "move it above 'r0', or remove it"
            ],
        ),
        (
            ["TRUE", "flagged_at IS NOT NULL"],
            TIERS,
            [
                "rule 'r1' can never decide: 'r0' above it always holds; move 'r0' to the end",
                "training.tiers names the tier 'weak', which no rule gives; remove it there",
                "training.weights names the tier 'explicit', which no rule gives; remove it there",
                "audit.precision names the tier 'critical', which no rule gives; remove it there",
            ],
        ),
        (
            ["accepted_at IS NOT NULL"],
            "maturity: {reopened: 7d, accepted: 1d}\nreading_speed: 20\nterms: [refund]\n",
            [
                "no undesirable label trains under this policy, and training needs both classes; "
                "give a rule that is undesirable a tier that trains and a weight above 0",
                "maturity.reopened delays no label: no rule reads what 'reopened' changes; "
                "remove it, or read reopened_at in a rule",
                "terms changes nothing: no rule reads edit_kind; remove it, or read edit_kind",
                "reading_speed changes nothing: no rule reads seconds_to_read; remove it, or read seconds_to_read",
            ],
        ),
    ],
)
def test_what_is_odd_about_a_policy_alone(conditions: list[str], more: str, warnings: list[str]) -> None:
    findings = review_policy(make_policy(*conditions, more=more))
    assert [finding.message for finding in findings if finding.level is Level.WARNING] == warnings


def test_notes_name_what_is_not_read_and_not_waited_for() -> None:
    findings = review_policy(
        make_policy("accepted_at IS NOT NULL", "reopened_at IS NOT NULL", more="maturity: {reopened: 7d}\n")
    )
    notes = {finding.kind: finding.message for finding in findings}
    *most, last = (tier for tier in Tier if tier is not Tier.STRONG)
    assert notes["tier_unused"] == f"no rule gives the tier {', '.join(most)} or {last}"
    assert notes["not_awaited"].startswith("no window under maturity for accepted: ")
    assert notes["columns_unread"].startswith("no rule reads draft_id, ticket_id, ")
    assert "accepted_at" not in notes["columns_unread"] and "seconds_to_read" in notes["columns_unread"]


def test_the_shipped_policies_are_free_of_warnings() -> None:
    for name, path in shipped_policies().items():
        assert kinds(review_policy(load_policy(path)), Level.WARNING) == [], name


def test_a_share_is_not_compared_with_what_no_share_is() -> None:
    conditions = (
        "survey_score <= 5 AND (accepted_at IS NULL OR 60 > edit_similarity)",
        "survey_score IN (0, 0.5, 3) OR NOT edit_similarity BETWEEN -1 AND 1",
        "survey_score * 5 < 3 OR survey_score = 1 OR edit_similarity >= 0 OR seconds_to_decision > 5",
    )
    found = [finding for finding in review_policy(make_policy(*conditions)) if finding.kind == "off_scale"]
    assert [(finding.level, finding.rules[0][-1]) for finding in found] == [(Level.WARNING, at) for at in "0011"]
    assert [finding.message.split("compares ")[1].split(",")[0] for finding in found] == [
        "survey_score with 5",
        "edit_similarity with 60",
        "survey_score with 3",
        "edit_similarity with -1",
    ]
    sent = 'sent_text: {when: edit_similarity < 60, tier: strong, weight: 1, why: "x"}\n'
    [alone] = [f for f in review_policy(make_policy("accepted_at IS NULL", more=sent)) if f.kind == "off_scale"]
    assert (alone.rules, alone.message.split(",")[0]) == ((), "sent_text compares edit_similarity with 60")
