from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.labels.interactions import build_interactions, count_unplaced
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, INTERACTIONS
from label_policy import INTERACTION_COLUMNS

DAY = date(2026, 3, 2)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def one(lake: Lake, as_of: datetime = LATER) -> dict[str, Any]:
    [row] = build_interactions(lake, [DAY], as_of=as_of).to_pylist()
    return row


def test_every_column_that_a_policy_may_read_is_built() -> None:
    assert set(INTERACTION_COLUMNS) <= set(INTERACTIONS.schema.names)


def test_a_draft_collects_its_signals_with_their_times(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(
        make_event("draft_shown"),
        make_event("accepted", when=at(seconds=90)),
        make_event("thumbs_down", when=at(hours=1), reasons=["wrong_routing", "tone"]),
        make_event("thumbs_down", when=at(hours=2), reasons=["tone"]),
        make_event("reopened", draft=None, when=at(days=5)),
    )
    row = one(lake)
    assert row["accepted_at"] == row["decided_at"] == at(seconds=90)
    assert row["seconds_to_decision"] == 90.0
    assert row["thumbs_down_at"] == at(hours=2), "the last such event"
    assert row["reasons"] == ["tone", "wrong_routing"]
    assert row["reopened_at"] == at(days=5)
    assert row["dismissed_at"] is None
    assert row["evidence"] == ["e1", "e2", "e3", "e4", "e5"]


def test_an_accept_without_another_text_was_sent_as_it_stood(lake: Lake, make_event: Callable, store: Callable) -> None:
    store(make_event("draft_shown"), make_event("accepted"))
    row = one(lake)
    assert (row["final_text"], row["edit_kind"], row["edit_similarity"]) == (row["completion"], "none", 1.0)


def test_an_edit_says_what_was_sent(lake: Lake, make_event: Callable, store: Callable, at: Callable) -> None:
    store(
        make_event("draft_shown", completion="refund within 30 days"),
        make_event("edited", when=at(minutes=1), final_text="refund within 20 days"),
        make_event("edited", when=at(minutes=2), final_text="refund within 14 days"),
    )
    row = one(lake)
    assert row["final_text"] == "refund within 14 days"
    assert row["edit_kind"] == "factual"
    assert 0 < row["edit_similarity"] < 1


def test_nothing_sent_has_no_edit(lake: Lake, make_event: Callable, store: Callable) -> None:
    store(make_event("draft_shown"), make_event("dismissed"))
    row = one(lake)
    assert (row["final_text"], row["edit_kind"], row["edit_similarity"]) == (None, None, None)


@pytest.mark.parametrize(("hours", "seen"), [(5, False), (7, True)])
def test_only_what_had_been_received_counts(
    lake: Lake, make_event: Callable, store: Callable, at: Callable, hours: int, seen: bool
) -> None:
    store(make_event("draft_shown"), make_event("accepted", when=at(hours=1), received_at=at(hours=6)))
    row = one(lake, as_of=at(hours=hours))
    assert (row["accepted_at"] is not None) == seen


def test_an_outcome_speaks_of_the_drafts_shown_before_it(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(
        make_event("draft_shown", draft="before"),
        make_event("escalated", draft=None, when=at(hours=1)),
        make_event("draft_shown", draft="after", when=at(hours=2)),
        make_event("draft_shown", draft="elsewhere", ticket="t2"),
    )
    rows = build_interactions(lake, [DAY], as_of=LATER).to_pylist()
    assert {row["draft_id"]: row["escalated_at"] is not None for row in rows} == {
        "before": True,
        "after": False,
        "elsewhere": False,
    }


def test_an_outcome_that_names_a_draft_is_evidence_once(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(make_event("draft_shown"), make_event("reopened", draft="d1", when=at(hours=1)))
    assert one(lake)["evidence"] == ["e1", "e2"]


def test_a_draft_shown_again_is_one_interaction(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(make_event("draft_shown"), make_event("draft_shown", when=at(days=9), completion="another text"))
    assert one(lake)["completion"] == "reply d1"
    assert build_interactions(lake, [date(2026, 3, 11)], as_of=LATER).num_rows == 0


def test_an_edit_to_nobody_knows_what_is_not_taken_for_none(lake: Lake, make_event: Callable, store: Callable) -> None:
    store(make_event("draft_shown"), make_event("edited"), make_event("accepted"))
    row = one(lake)
    assert (row["final_text"], row["edit_kind"], row["edit_similarity"]) == (None, None, None)


def test_what_no_interaction_can_hold_is_counted(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(
        make_event("draft_shown"),
        make_event("accepted", draft="never shown"),
        make_event("resolved", draft=None, ticket="unknown"),
        make_event("reopened", draft=None, when=at(hours=-1)),
    )
    assert count_unplaced(lake, DAY, DAY) == {
        "drafts_outside": 0,
        "drafts_twice": 0,
        "reactions_without_draft": 1,
        "outcomes_without_draft": 2,
    }
    assert count_unplaced(lake, date(2026, 3, 3), date(2026, 3, 9))["drafts_outside"] == 1


def test_a_survey_speaks_of_the_tickets_drafts_with_its_last_score(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(
        make_event("draft_shown"),
        make_event("surveyed", draft=None, when=at(days=1), score=0.25),
        make_event("surveyed", draft=None, when=at(days=2), score=1.0, reasons=["fast"]),
    )
    row = one(lake)
    assert (row["surveyed_at"], row["survey_score"], row["reasons"]) == (at(days=2), 1.0, ["fast"])


def test_a_later_draft_on_the_ticket_is_a_repeat_contact_like_one_that_is_logged(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(
        make_event("draft_shown", draft="first"),
        make_event("draft_shown", draft="alternative"),
        make_event("draft_shown", draft="second", when=at(hours=2)),
        make_event("draft_shown", draft="third", when=at(days=3)),
        make_event("draft_shown", draft="elsewhere", ticket="t2"),
        make_event("repeat_contact", draft=None, ticket="t2", when=at(hours=1)),
    )
    rows = {row["draft_id"]: row for row in build_interactions(lake, [DAY], as_of=LATER).to_pylist()}
    assert {draft: row["repeat_contact_at"] for draft, row in rows.items()} == {
        "first": at(days=3),
        "alternative": at(days=3),
        "second": at(days=3),
        "elsewhere": at(hours=1),
    }
    assert rows["first"]["evidence"] == ["e1", "e4"], "the draft that brought the customer back"
    [last] = build_interactions(lake, [date(2026, 3, 5)], as_of=LATER).to_pylist()
    assert (last["draft_id"], last["repeat_contact_at"]) == ("third", None)


def test_a_ranking_is_two_interactions(lake: Lake, make_event: Callable, store: Callable) -> None:
    ranking = make_event(
        "preference", draft=None, completion="better", final_text="worse", prompt=[{"role": "user", "content": "how?"}]
    )
    store(ranking, make_event("resolved", draft=None))
    other, preferred = build_interactions(lake, [DAY], as_of=LATER).to_pylist()
    assert (preferred["draft_id"], preferred["completion"]) == ("e1#preferred", "better")
    assert (other["draft_id"], other["completion"]) == ("e1#other", "worse")
    assert preferred["preferred_over"] == "e1#other"
    assert (preferred["preferred_at"], other["not_preferred_at"]) == (ranking["occurred_at"], ranking["occurred_at"])
    assert preferred["not_preferred_at"] is other["preferred_at"] is other["preferred_over"] is None
    for row in (preferred, other):
        assert (row["ticket_id"], row["evidence"], row["final_text"]) == ("t1", ["e1"], None)
        assert row["prompt"] == [{"role": "user", "content": "how?"}]
        assert row["resolved_at"] is None, "neither text was sent"


def test_an_arrival_day_counts_once_it_has_ended(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(make_event("draft_shown"), make_event("accepted", when=at(hours=1), arrival_date=DAY))
    assert one(lake, as_of=at(hours=11))["accepted_at"] is None
    assert one(lake, as_of=at(hours=12))["accepted_at"] == at(hours=1), "midnight"


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["draft_shown", "accepted", "edited", "thumbs_up", "resolved", "repeat_contact", "preference"]),
        st.sampled_from(["d1", "d2", "d3"]),
        st.integers(0, 4 * 24),  # hours after noon
        st.integers(0, 30),  # hours until it was received
    ),
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=HAPPENINGS, split=st.integers(1, 5))
def test_a_days_interactions_are_the_same_whichever_days_are_built_with_it(
    tmp_path_factory: pytest.TempPathFactory, happenings: list[tuple[str, str, int, int]], split: int
) -> None:
    events = []
    for n, (kind, draft, hours, delay) in enumerate(happenings):
        when = NOON + timedelta(hours=hours)
        received = when + timedelta(hours=delay)
        of_ticket = kind in ("resolved", "repeat_contact", "preference")
        events.append(
            {
                "event_id": f"e{n:02}", "kind": kind, "occurred_at": when, "received_at": received,
                "ticket_id": "t1" if draft < "d3" else "t2", "draft_id": None if of_ticket else draft,
                "agent_id": f"a{n}", "completion": f"reply {n}" if kind in ("draft_shown", "preference") else None,
                "final_text": f"sent {n}" if kind in ("edited", "preference") else None,
                "source": "test", "arrival_date": received.date(), "file": "log.jsonl", "line": n,
            }
        )  # fmt: skip
    lake = Lake(tmp_path_factory.mktemp("lake"))
    rows = [{name: event.get(name) for name in EVENTS.schema.names} for event in events]
    days = [DAY + timedelta(days=n) for n in range(8)]
    lake.replace(EVENTS, pa.Table.from_pylist(rows, schema=EVENTS.schema), days)
    as_of = NOON + timedelta(days=20)
    at_once = build_interactions(lake, days, as_of=as_of).to_pylist()
    parts = [build_interactions(lake, part, as_of=as_of).to_pylist() for part in (days[:split], days[split:])]
    assert parts[0] + parts[1] == at_once
    assert len({row["draft_id"] for row in at_once}) == len(at_once)
