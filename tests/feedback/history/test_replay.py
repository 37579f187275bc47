"""Replays of days as they were at a moment: from random histories, and where past versions are gone."""

import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.exceptions import FeedbackError
from feedback.history.replay import Replay, replay
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.ledger import append_entries, days_behind
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, INTERACTIONS, LABELS
from feedback.training_set.build import build_training_set
from label_policy import Policy, parse_policy
from tests.feedback.histories import DAYS, arrive, day, logged_events, night

# The windows are short, so that a few days see labels mature.
RULES = """
name: brief
version: 1
description: Short windows.
owner: test
maturity: {reopened: 1d}
rules:
  - {id: down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1.0, why: Said so.}
  - {id: back, when: reopened_at >= accepted_at, label: undesirable, tier: strong, weight: 0.5, why: Came back.}
  - {id: sent, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1.0, why: Was sent.}
  - {id: up, when: thumbs_up_at IS NOT NULL, label: desirable, tier: explicit, weight: 1.0, why: Said so.}
  - {id: chosen, when: preferred_at IS NOT NULL, label: desirable, tier: explicit, weight: 1.0, why: Was preferred.}
"""
V1 = parse_policy(RULES)
V2 = parse_policy(RULES.replace("version: 1", "version: 2").replace("reopened: 1d", "reopened: 2d"))
NIGHTS = (2, 4, DAYS + 1)
LOOKBACK = 3


def nightly(lake: Lake, number: int, policy: Policy) -> None:
    """Do what the nightly run does after day `number`."""
    days = [day(n) for n in range(max(0, number - LOOKBACK), number + 1)]
    write_interactions(lake, days, as_of=night(number))
    write_labels(lake, policy, days, as_of=night(number))


def labels(lake: Lake) -> list[dict[str, Any]]:
    with lake.sql(LABELS) as connection:
        return connection.sql("SELECT * FROM labels ORDER BY shown_date, draft_id").to_arrow_table().to_pylist()


def version(lake: Lake, policy: Policy, folder: Path) -> str | None:
    """Return the training set's version, or None where no label trains yet."""
    if not any(row["state"] == "final" and row["label"] != "abstain" for row in labels(lake)):
        return None
    return build_training_set(lake, policy, folder, heldout=0.5).version


@settings(max_examples=3, deadline=None)
@given(
    events=logged_events(60, least=20),
    delayed=st.sets(st.integers(1, DAYS)),
    night_of_replay=st.sampled_from(NIGHTS),
    changed=st.sampled_from(NIGHTS),
    relabelled=st.booleans(),
)
def test_a_replay_is_bit_for_bit_what_was_there_that_night(
    events: list[dict[str, Any]], delayed: set[int], night_of_replay: int, changed: int, relabelled: bool
) -> None:
    with TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "lake")
        policy = V1
        for number in NIGHTS:
            # Some logs are delivered a day late: no run reads them in the night between.
            late = {day(n) for n in delayed if n >= number}
            arrive(lake, events, until=day(number), without=late)
            nightly(lake, number, policy)
            if relabelled:
                # More logs came in between: the interactions are built without them.
                arrive(lake, events, until=day(number + 1))
                write_labels(lake, policy, [day(n) for n in range(number + 1)], as_of=night(number))
            if number == changed:
                policy = V2
                write_labels(lake, policy, [day(n) for n in range(number + 1)], as_of=night(number))
            if number == night_of_replay:
                was = labels(lake), version(lake, policy, Path(folder) / "sets"), policy.digest
        # Then all logs are delivered again, changed, with some more days.
        arrive(lake, [event | {"completion": "another"} for event in events[1:]], until=day(DAYS + 9))
        replayed = replay(lake, Path(folder) / "replay", moment=night(night_of_replay), policy=V1)
        assert labels(replayed.lake) == was[0]
        assert (version(replayed.lake, replayed.policy, Path(folder) / "again"), replayed.policy.digest) == was[1:]
        assert (replayed.unrecorded, replayed.present_events, replayed.unlike, replayed.unchecked) == ([], [], [], [])


@pytest.fixture
def history(lake: Lake, make_event: Callable, store: Callable, at: Callable) -> Lake:
    """Two days with a draft each, one sent and one disliked; labelled by V1 on 5 March, by when both are final."""
    arrive(lake, [], until=at(days=3).date())  # an empty file a day
    store(
        make_event("draft_shown"),
        make_event("accepted"),
        make_event("draft_shown", draft="d2", ticket="t2", when=at(days=1)),
        make_event("thumbs_down", draft="d2", ticket="t2", when=at(days=1)),
        make_event("copied", draft="another", ticket="t9", when=at(days=3)),
    )
    build(lake, TWO_DAYS, V1, at(days=3))
    return lake


TWO_DAYS = [date(2026, 3, 2), date(2026, 3, 3)]


def build(lake: Lake, days: list[date], policy: Policy, as_of: datetime) -> None:
    write_interactions(lake, days, as_of=as_of)
    write_labels(lake, policy, days, as_of=as_of)


def test_the_live_tables_are_only_read(history: Lake, tmp_path: Path, at: Callable) -> None:
    before = {path: path.stat().st_mtime_ns for path in history.root.rglob("*")}
    replayed = replay(history, tmp_path / "replay", moment=at(days=3), policy=V1)
    assert {path: path.stat().st_mtime_ns for path in history.root.rglob("*")} == before
    with pytest.raises(ValueError, match="read-only"):
        replayed.lake.replace(EVENTS, EVENTS.schema.empty_table(), TWO_DAYS)


def test_where_nothing_was_recorded_the_moment_itself_is_built(history: Lake, tmp_path: Path, at: Callable) -> None:
    root = tmp_path / "replay"
    replayed = replay(history, root, moment=at(hours=1), policy=V2)
    assert (replayed.recorded, replayed.unrecorded, replayed.policy) == ([], TWO_DAYS[:1], V2)
    assert [(row["draft_id"], row["state"], row["policy_version"]) for row in labels(replayed.lake)] == [
        ("d1", "provisional", 2)
    ]
    # A requested day is built beside the recorded ones.
    build(history, TWO_DAYS[:1], V1, at(days=4))
    options = {"moment": at(days=4), "policy": V1}
    assert replay(history, root, **options, first=TWO_DAYS[1], last=TWO_DAYS[1]).recorded == TWO_DAYS[1:]
    with pytest.raises(FeedbackError, match="no draft of those days was known at 2026-03-02"):
        replay(history, root, moment=at(hours=-1), policy=V1)


def test_days_that_a_new_policy_only_confirmed_stand_by_it(history: Lake, tmp_path: Path, at: Callable) -> None:
    renamed = V1.model_copy(update={"version": 7})  # means the same
    write_labels(history, renamed, TWO_DAYS[1:], as_of=at(days=4))
    append_entries(
        history, stage="labels", days=TWO_DAYS, how="confirmed", input_version=history.version(INTERACTIONS),
        output_version=history.version(LABELS), policy=V2, as_of=at(days=5), run_id=None,
    )  # fmt: skip
    write_labels(history, V1, TWO_DAYS, as_of=at(days=6))
    replayed = replay(history, tmp_path / "replay", moment=at(days=5), policy=V1)
    assert [row["policy_version"] for row in labels(replayed.lake)] == [1, 7]
    assert (replayed.policy, replayed.unlike, days_behind(replayed.lake, V2)) == (V2, [], ([], 2))
    assert version(replayed.lake, V2, tmp_path / "sets")


def test_days_by_different_policies_stay_what_they_were(history: Lake, tmp_path: Path, at: Callable) -> None:
    write_labels(history, V2, TWO_DAYS[1:], as_of=at(days=4))
    write_labels(history, V2, TWO_DAYS, as_of=at(days=5))
    replayed = replay(history, tmp_path / "replay", moment=at(days=4), policy=V1)
    assert [row["policy_version"] for row in labels(replayed.lake)] == [1, 2]
    assert (replayed.policy, days_behind(replayed.lake, replayed.policy)) == (V2, (TWO_DAYS[:1], 2))


def test_what_cannot_be_read_any_more_is_said(
    history: Lake, tmp_path: Path, make_event: Callable, at: Callable
) -> None:
    def shifted(root: Path) -> Replay:
        return replay(history, root, moment=at(days=3), policy=V1)

    assert (shifted(tmp_path / "a").present_events, shifted(tmp_path / "a").unchecked) == ([], [])
    late = make_event("reopened", draft=None, when=at(hours=1), line=99)
    with history.sql(EVENTS) as connection:
        day_1 = connection.sql("SELECT * FROM events WHERE arrival_date = '2026-03-01'").to_arrow_table()
    more = pa.concat_tables([day_1.cast(EVENTS.schema), pa.Table.from_pylist([late], EVENTS.schema)])
    history.replace(EVENTS, more, [late["arrival_date"]])
    assert shifted(tmp_path / "b").unlike == [], "the version that was read is"
    history.stored(EVENTS).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    vacuumed = shifted(tmp_path / "c")
    assert (vacuumed.present_events, vacuumed.unlike, vacuumed.unchecked) == (TWO_DAYS, TWO_DAYS[:1], [])
    build(history, TWO_DAYS, V1, at(days=5))
    history.stored(LABELS).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert shifted(tmp_path / "d").unchecked == TWO_DAYS


def test_no_version_is_forgotten_however_long_ago_it_was(history: Lake, tmp_path: Path, at: Callable) -> None:
    history.stored(EVENTS).alter.set_table_properties({"delta.checkpointInterval": "1"})
    for file in (history.path(EVENTS) / "_delta_log").iterdir():
        os.utime(file, (0, 0))
    for _ in range(2):
        history.replace(EVENTS, EVENTS.schema.empty_table(), [date(2026, 3, 1)])
    assert replay(history, tmp_path / "replay", moment=at(days=3), policy=V1).present_events == []
