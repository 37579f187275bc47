from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from feedback.labels.interactions import build_interactions, write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.labels import build_labels, count_labels, labelled_days
from feedback.lake.delta import Lake
from feedback.lake.tables import INTERACTIONS
from label_policy import Policy, load_policy, shipped_policies

DAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(shipped_policies()["harbor-support.v1"])


def label(lake: Lake, policy: Policy, built: datetime, labelled: datetime) -> dict[str, Any]:
    lake.replace(INTERACTIONS, build_interactions(lake, [DAY], as_of=built), [DAY])
    [row] = build_labels(lake, policy, [DAY], as_of=labelled).to_pylist()
    return {name: row[name] for name in ("label", "rule", "state")}


def test_an_accept_is_final_when_its_window_has_passed_and_the_logs_reach_that_far(
    lake: Lake, policy: Policy, make_event: Callable, store: Callable, at: Callable
) -> None:
    events = [make_event("draft_shown"), make_event("accepted", when=at(minutes=5))]
    store(*events)
    late = at(days=60)
    assert label(lake, policy, late, late)["state"] == "provisional", "the logs end on the day of the accept"
    store(*events, make_event("copied", draft="another", ticket="t2", when=at(days=8)))
    assert label(lake, policy, at(days=3), late)["state"] == "provisional", "the interaction was built before"
    assert label(lake, policy, late, at(days=3))["state"] == "provisional"
    assert label(lake, policy, late, late) == {"label": "desirable", "rule": "accepted", "state": "final"}


def test_a_reopening_that_nobody_has_looked_at_yet_keeps_the_accept_from_being_final(
    lake: Lake, policy: Policy, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(
        make_event("draft_shown"),
        make_event("accepted", when=at(minutes=5)),
        make_event("reopened", draft=None, when=at(days=1)),
        make_event("copied", draft="another", ticket="t2", when=at(days=18)),
    )
    assert label(lake, policy, at(hours=1), at(days=18))["state"] == "provisional"
    assert label(lake, policy, at(days=18), at(days=18)) == {
        "label": "undesirable", "rule": "reopened_after_send", "state": "final",
    }  # fmt: skip


def test_logs_that_come_after_the_interactions_make_nothing_final(
    lake: Lake, policy: Policy, make_event: Callable, store: Callable, at: Callable
) -> None:
    events = [make_event("draft_shown"), make_event("accepted", when=at(minutes=5))]
    store(*events)
    write_interactions(lake, [DAY], as_of=at(days=18))
    reopened = make_event("reopened", draft=None, when=at(days=1))
    store(*events, reopened, make_event("copied", draft="another", ticket="t2", when=at(days=17)))
    [row] = build_labels(lake, policy, [DAY], as_of=at(days=18)).to_pylist()
    assert (row["rule"], row["state"]) == ("accepted", "provisional"), "the reopening has not been looked at"
    write_interactions(lake, [DAY], as_of=at(days=18))
    [row] = build_labels(lake, policy, [DAY], as_of=at(days=18)).to_pylist()
    assert (row["rule"], row["state"]) == ("reopened_after_send", "final")


def test_a_thumbs_down_is_final_at_once(
    lake: Lake, policy: Policy, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(make_event("draft_shown"), make_event("thumbs_down", when=at(minutes=1)))
    assert label(lake, policy, at(minutes=2), at(minutes=2)) == {
        "label": "undesirable", "rule": "thumbs_down", "state": "final",
    }  # fmt: skip


def test_what_the_lake_says_of_its_labels(
    lake: Lake, policy: Policy, make_event: Callable, store: Callable, at: Callable
) -> None:
    assert labelled_days(lake) is None
    store(
        make_event("draft_shown"),
        make_event("accepted"),
        make_event("draft_shown", draft="d2", ticket="t2", when=at(days=2)),
    )
    days = [DAY, date(2026, 3, 4)]
    write_interactions(lake, days, as_of=at(days=3))
    write_labels(lake, policy, days, as_of=at(days=3))
    assert labelled_days(lake) == (days[0], days[1])
    assert count_labels(lake, *days) == {"abstain": 1, "desirable": 1}


def test_a_draft_whose_extra_is_no_json_is_labelled_all_the_same(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    store(make_event("draft_shown", extra="{not json"))
    assert label(lake, load_policy(shipped_policies()["star.v1"]), at(days=1), at(days=1))["rule"] == "slot_values"
