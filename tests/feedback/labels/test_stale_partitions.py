from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feedback.labels.stale_partitions
from feedback.labels.interactions import build_interactions, write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.stale_partitions import due_days, matured_days, touched_days
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, INTERACTIONS
from label_policy import load_policy, shipped_policies
from tests.feedback.histories import DAYS, arrive, day, logged_events, night

POLICY = load_policy(shipped_policies()["harbor-support.v1"])


def build(lake: Lake, days: list[date], as_of: datetime) -> None:
    write_interactions(lake, days, as_of=as_of)
    write_labels(lake, POLICY, days, as_of=as_of)


def evidence(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {row["draft_id"]: row["evidence"] for row in rows}


@settings(max_examples=4, deadline=None)
@given(
    events=logged_events(),
    first=st.integers(0, DAYS - 1),
    later=st.integers(0, DAYS + 2),
    built=st.sets(st.integers(0, DAYS - 1), min_size=1),
)
def test_exactly_the_days_whose_evidence_would_come_out_otherwise_are_touched(
    events: list[dict[str, Any]], first: int, later: int, built: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        arrive(lake, events, until=day(first))
        build(lake, [day(number) for number in sorted(built)], night(first))
        moment = night(max(first, later))
        arrive(lake, events, until=day(max(first, later)))
        with lake.sql(INTERACTIONS) as connection:
            stored = connection.sql("SELECT * FROM interactions").to_arrow_table().to_pylist()
        # Built a day at a time: a day's rows must not depend on the other days of the build.
        expected = [
            each
            for each in map(day, range(DAYS))
            if evidence(build_interactions(lake, [each], as_of=moment).to_pylist())
            != evidence([row for row in stored if row["shown_date"] == each])
        ]
        assert touched_days(lake, as_of=moment) == expected
        if expected:
            build(lake, expected, moment)
        assert touched_days(lake, as_of=moment) == []


def test_a_day_is_touched_by_what_it_lacks_and_by_what_it_should_not_hold(
    lake: Lake, make_event: Callable, store: Callable, at: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = [
        event
        for number in range(4)
        for event in (
            make_event("draft_shown", draft=f"d{number}", ticket=f"t{number}", when=at(days=number)),
            make_event("edited", draft=f"d{number}", ticket=f"t{number}", when=at(days=number), final_text="another"),
        )
    ]
    reopened = make_event("reopened", draft=None, ticket="t1", when=at(days=6))
    monkeypatch.setattr(feedback.labels.stale_partitions, "_BATCH_DRAFTS", 2)
    store(*drafts)
    assert touched_days(lake, as_of=at(days=5)) == [at(days=number).date() for number in range(4)], "nothing is built"
    build(lake, [at(days=number).date() for number in range(4)], at(days=5))
    assert touched_days(lake, as_of=at(days=5)) == []
    store(*drafts, reopened)
    assert touched_days(lake, as_of=at(days=5)) == [], "not heard of yet"
    assert touched_days(lake, as_of=at(days=7)) == [at(days=1).date()]
    write_interactions(lake, [at(days=1).date()], as_of=at(days=7))
    assert touched_days(lake, as_of=at(days=7)) == [at(days=1).date()], "its label was made without the reopening"
    build(lake, [at(days=1).date()], at(days=7))
    gone = drafts[0]["arrival_date"]
    lake.replace(EVENTS, EVENTS.schema.empty_table(), [gone])
    assert touched_days(lake, as_of=at(days=7)) == [at().date()], "no event shows its draft any more"
    assert touched_days(Lake(lake.root / "empty"), as_of=at(days=7)) == []


def test_labels_mature_when_their_time_has_passed_and_the_logs_reach_that_far(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    accept = [make_event("draft_shown"), make_event("accepted", when=at(minutes=5))]
    build_at = at(days=2)
    store(*accept)
    build(lake, [at().date()], build_at)
    assert due_days(lake, at(days=7)) == []
    assert due_days(lake, at(days=7, minutes=5)) == [at().date()]
    assert matured_days(lake, as_of=at(days=20)) == [], "no log has arrived since"
    arrive(lake, [], until=at(days=7).date())
    assert matured_days(lake, as_of=at(days=7, hours=6)) == [], "the day of the logs has not ended"
    assert matured_days(lake, as_of=at(days=20)) == [at().date()]


def test_what_a_day_holds_does_not_depend_on_the_days_that_are_built_with_it(
    lake: Lake, make_event: Callable, store: Callable, at: Callable
) -> None:
    # A reaction that was logged days before its draft was shown: one of the two clocks was wrong.
    store(make_event("accepted", when=at(days=-3)), make_event("draft_shown"), make_event("thumbs_up"))
    days = [at(days=number).date() for number in range(-3, 1)]
    [alone] = build_interactions(lake, days[-1:], as_of=at(days=5)).to_pylist()
    [among_others] = build_interactions(lake, days, as_of=at(days=5)).to_pylist()
    assert alone == among_others
    assert alone["evidence"] == ["e2", "e3"]
