"""Texts that an agent sent instead of a draft, and edits of the policy's own terms: from events to labels."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from feedback.labels.interactions import write_interactions
from feedback.labels.labels import build_labels
from feedback.lake.delta import Lake
from label_policy import Policy, classify_edit, parse_policy

DAY = date(2026, 3, 2)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
POLICY = """
name: desk
version: 1
description: A desk.
owner: us
maturity: {reopened: 7d}
terms: [Store Credit]
rules:
  - {id: fact, when: edit_kind = 'factual', label: undesirable, tier: strong, weight: 1.0, why: A fact was wrong.}
  - {id: sent, when: edited_at IS NOT NULL, label: desirable, tier: weak, weight: 0.5, why: It was sent.}
sent_text:
  when: edit_kind IN ('factual', 'substantive') AND reopened_at IS NULL
  tier: strong
  weight: 0.8
  why: The agent wrote it.
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY, where="desk")


@pytest.fixture
def labels(
    lake: Lake, policy: Policy, make_event: Callable, store: Callable, at: Callable
) -> Callable[..., dict[str, dict[str, Any]]]:
    def make(draft: str, final: str, *more: dict[str, Any], as_of: datetime = LATER) -> dict[str, dict[str, Any]]:
        store(
            make_event("draft_shown", completion=draft),
            make_event("edited", when=at(minutes=3), final_text=final),
            *more,
            make_event("draft_shown", draft="much later", ticket="t2", when=at(days=60)),
        )
        write_interactions(lake, [DAY], as_of=as_of)
        return {row["draft_id"]: row for row in build_labels(lake, policy, [DAY], as_of=as_of).to_pylist()}

    return make


def test_the_agents_text_is_a_desirable_row_preferred_to_the_draft(labels: Callable, at: Callable) -> None:
    rows = labels("refund within 30 days", "refund within 14 days")
    draft, sent = rows["d1"], rows["d1#sent"]
    assert (draft["label"], draft["rule"], draft["preferred_over"]) == ("undesirable", "fact", None)
    assert (sent["label"], sent["rule"], sent["tier"], sent["weight"]) == ("desirable", "sent_text", "strong", 0.8)
    assert (sent["completion"], sent["preferred_over"], sent["state"]) == ("refund within 14 days", "d1", "final")
    assert sent["matures_at"] == at(days=7, minutes=3), "it waits for what its own condition reads"
    for column in ("ticket_id", "prompt", "shown_date", "category", "evidence", "policy_digest", "as_of"):
        assert sent[column] == draft[column]


def test_it_is_provisional_while_the_ticket_may_come_back_and_gone_once_it_has(
    labels: Callable, make_event: Callable, at: Callable
) -> None:
    reopened = make_event("reopened", draft=None, when=at(days=5))
    early = labels("refund within 30 days", "refund within 14 days", reopened, as_of=at(days=4))
    assert early["d1#sent"]["state"] == "provisional"
    late = labels("refund within 30 days", "refund within 14 days", reopened)
    assert [*late] == ["d1"]


@pytest.mark.parametrize("final", ["refund within 30 days!", "Refund within 30 days", "  ", "refund within 30 days"])
def test_where_nothing_else_was_sent_there_is_no_row(labels: Callable, final: str) -> None:
    assert [*labels("refund within 30 days", final)] == ["d1"]


def test_a_changed_term_is_factual_under_the_policy_that_lists_it(labels: Callable, policy: Policy) -> None:
    draft, final = "We can offer you store credit for it.", "We can offer you a voucher for it."
    assert classify_edit(draft, final) != "factual"
    assert classify_edit(draft, final, policy.terms) == "factual"
    assert labels(draft, final)["d1"]["rule"] == "fact"


def test_a_term_that_stands_in_both_changes_nothing(labels: Callable) -> None:
    assert labels("Store credit, then.", "STORE CREDIT then")["d1"]["rule"] == "sent"
