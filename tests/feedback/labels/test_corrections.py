"""Final labels that change later: each change is recorded once, with its cause, and counted."""

import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.labels import label_writer
from feedback.labels.corrections import flip_rate
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake
from feedback.lake.journals import append
from feedback.lake.replacement import Replacement
from feedback.lake.tables import CORRECTIONS, EVENTS, LABELS
from feedback.policy_changes.apply import apply_plan, confirm_applied
from feedback.policy_changes.backfill_plan import plan_change
from feedback.training_set.build import build_training_set
from label_policy import Policy, parse_policy

DAY = date(2026, 3, 2)
TEXT = """
name: desk
version: 1
description: for a test
owner: nobody
maturity: {reopened: 3d, escalated: 1d}
rules:
  - {id: thumbs_down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1.0, why: disliked}
  - {id: edited, when: edited_at IS NOT NULL, label: undesirable, tier: strong, weight: 0.8, why: it was changed}
  - {id: reopened, when: reopened_at >= accepted_at, label: undesirable, tier: strong, weight: 0.6, why: came back}
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1.0, why: it was sent}
  - {id: escalated, when: escalated_at IS NOT NULL, label: abstain, why: it went to a higher level unsent}
"""
SHORT = parse_policy(TEXT)
PATIENT = parse_policy(TEXT.replace("reopened: 3d", "reopened: 14d"))
LIGHTER = parse_policy(TEXT.replace("strong, weight: 1.0", "strong, weight: 0.5"))


@pytest.fixture
def build(lake: Lake) -> Callable[..., list[dict[str, Any]]]:
    """Build interactions and labels of the day; return the corrections."""

    def run(policy: Policy, as_of: datetime) -> list[dict[str, Any]]:
        write_interactions(lake, [DAY], as_of=as_of)
        return write_labels(lake, policy, [DAY], as_of=as_of, run_id=f"run of {as_of:%d %B}").corrections.to_pylist()

    return run


@pytest.fixture
def reopened_late(make_event: Callable, store: Callable, at: Callable) -> dict[str, dict[str, Any]]:
    """Two drafts accepted, and liked another, on 2 March; the first one's ticket is reopened five days later."""
    events = {
        "shown": make_event("draft_shown"),
        "accepted": make_event("accepted", when=at(minutes=5)),
        "shown 2": make_event("draft_shown", draft="d2", ticket="t2"),
        "accepted 2": make_event("accepted", draft="d2", ticket="t2", when=at(minutes=6)),
        "shown 3": make_event("draft_shown", draft="d3", ticket="t3"),
        "disliked 3": make_event("thumbs_down", draft="d3", ticket="t3", when=at(minutes=6)),
        "reopened": make_event("reopened", draft=None, when=at(days=5)),
        # An event of another draft, so that the logs reach that far.
        **{f"day {day}": make_event("copied", draft="another", ticket="t9", when=at(days=day)) for day in range(1, 31)},
    }
    store(*events.values())
    return events


def verdicts(lake: Lake) -> dict[str, tuple[str, str]]:
    rows = lake.dataset(LABELS).to_table(columns=["draft_id", "rule", "state"]).to_pylist()
    return {row["draft_id"]: (row["rule"], row["state"]) for row in rows}


def journal(lake: Lake) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.dataset(CORRECTIONS).to_table().to_pylist()
    return rows


def test_a_reopening_after_finality_is_corrected_counted_and_applied(
    lake: Lake, build: Callable, reopened_late: dict, at: Callable, tmp_path: Path
) -> None:
    assert build(SHORT, at(days=4, hours=12)) == []
    assert verdicts(lake) == {
        "d1": ("accepted", "final"), "d2": ("accepted", "final"), "d3": ("thumbs_down", "final"),
    }  # fmt: skip
    before = build_training_set(lake, SHORT, tmp_path, heldout=0)
    assert (before.manifest["corrections"], before.manifest["flip_rate"]["flipped"]) == ({}, 0)
    [correction] = build(SHORT, at(days=6))
    named = {name: correction[name] for name in ("draft_id", "ticket_id", "cause", "was_label", "was_rule", "label")}
    assert named == {
        "draft_id": "d1", "ticket_id": "t1", "cause": "feedback",
        "was_label": "desirable", "was_rule": "accepted", "label": "undesirable",
    }  # fmt: skip
    assert (correction["was_weight"], correction["weight"], correction["tier"]) == (1.0, 0.6, "strong")
    assert (correction["was_as_of"], correction["as_of"]) == (at(days=4, hours=12), at(days=6))
    assert correction["new_evidence"] == [reopened_late["reopened"]["event_id"]]
    assert correction["run_id"] == "run of 08 March"
    assert journal(lake) == [correction]
    assert verdicts(lake)["d1"] == ("reopened", "final")
    assert build(SHORT, at(days=20)) == []
    flips = flip_rate(lake)
    assert (flips["flipped"], flips["final"], flips["rate"]) == (1, 4, 0.25)
    assert flips["by_rule"]["accepted"] == {"final": 2, "flipped": 1, "rate": 0.5, "became": {"reopened": 1}}
    assert flips["by_tier"]["explicit"] == {"final": 1, "flipped": 0, "rate": 0.0}
    after = build_training_set(lake, SHORT, tmp_path, heldout=0)
    assert after.version != before.version
    assert (after.manifest["corrections"], after.manifest["flip_rate"]["rate"]) == ({"feedback": 1}, 0.25)
    assert flip_rate(lake, days=[date(2026, 3, 3)])["final"] == 0


def test_a_provisional_label_changes_without_a_correction(
    lake: Lake, build: Callable, reopened_late: dict, at: Callable
) -> None:
    build(PATIENT, at(days=4, hours=12))
    assert verdicts(lake)["d1"] == ("accepted", "provisional")
    assert build(PATIENT, at(days=6)) == []
    assert verdicts(lake)["d1"] == ("reopened", "final")
    assert flip_rate(lake)["flipped"] == 0


def test_an_interrupted_build_that_is_repeated_records_once(
    lake: Lake, build: Callable, reopened_late: dict, at: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(SHORT, at(days=4, hours=12))

    def killed(self: Replacement) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # The journal is appended to before; only the labels' replacement is not committed yet.
        patch.setattr(
            label_writer, "append", lambda *args: (append(*args), patch.setattr(Replacement, "commit", killed))
        )
        with pytest.raises(KeyboardInterrupt):
            build(SHORT, at(days=6))
    assert verdicts(lake)["d1"] == ("accepted", "final"), "not applied"
    assert len(journal(lake)) == 1
    assert build(SHORT, at(days=7)) == []
    assert verdicts(lake)["d1"] == ("reopened", "final")
    assert len(journal(lake)) == 1


def test_back_and_forth_between_policies_as_of_one_moment_is_recorded_every_time(
    lake: Lake, build: Callable, reopened_late: dict, at: Callable
) -> None:
    for policy, rows in ((SHORT, 0), (LIGHTER, 2), (SHORT, 4), (SHORT, 4), (LIGHTER, 6)):
        build(policy, at(days=4, hours=12))
        assert len(journal(lake)) == rows
    assert {(row["cause"], row["rule"]) for row in journal(lake)} == {("policy", "accepted")}
    assert flip_rate(lake)["flipped"] == 0


def test_who_is_the_cause(lake: Lake, build: Callable, reopened_late: dict, store: Callable, at: Callable) -> None:
    build(SHORT, at(days=4, hours=12))
    causes = {row["draft_id"]: row["cause"] for row in build(LIGHTER, at(days=6))}
    assert causes == {"d1": "both", "d2": "policy"}
    assert flip_rate(lake)["flipped"] == 0, "which of the two it was, nobody can say"
    # A corrected mapping reads the same event as another kind.
    store(*(reopened_late | {"disliked 3": reopened_late["disliked 3"] | {"kind": "accepted"}}).values())
    [correction] = build(LIGHTER, at(days=7))
    assert (correction["draft_id"], correction["cause"], correction["new_evidence"]) == ("d3", "rebuilt", [])


def test_a_policy_that_waits_longer_makes_labels_provisional_again_and_the_flip_rate_start_anew(
    lake: Lake, build: Callable, reopened_late: dict, at: Callable
) -> None:
    build(SHORT, at(days=4, hours=12))
    build(SHORT, at(days=6))
    assert flip_rate(lake)["flipped"] == 1
    assert build(PATIENT, at(days=6)) == [], "no verdict has changed"
    assert verdicts(lake)["d2"] == ("accepted", "provisional")
    assert flip_rate(lake)["flipped"] == 0


def test_feedback_under_a_policy_that_only_confirmed_the_labels_is_the_cause(
    lake: Lake, build: Callable, reopened_late: dict, at: Callable
) -> None:
    audited = parse_policy(TEXT + "audit: {per_class: 10}\n")
    build(SHORT, at(days=4, hours=12))
    plan = plan_change(lake, audited, as_of=at(days=4, hours=13))
    assert apply_plan(lake, audited, plan).days == []
    assert confirm_applied(lake, audited, plan) == [DAY]
    [correction] = build(audited, at(days=6))
    assert (correction["cause"], correction["was_policy_digest"]) == ("feedback", audited.digest)
    assert flip_rate(lake)["flipped"] == 1


def test_another_text_under_the_same_verdict_is_a_correction(
    lake: Lake, build: Callable, make_event: Callable, store: Callable, at: Callable
) -> None:
    learning = parse_policy(TEXT + "sent_text: {when: edited_at IS NOT NULL, tier: strong, weight: 0.8, why: Sent.}\n")
    reach = [make_event("copied", draft="another", ticket="t9", when=at(days=day)) for day in range(1, 20)]
    events = [make_event("draft_shown"), make_event("edited", final_text="as sent", when=at(minutes=5)), *reach]
    store(*events)
    assert build(learning, at(days=10)) == []
    late = make_event("edited", final_text="as sent later", when=at(minutes=6), received_at=at(days=11))
    store(*events, late)
    [correction] = build(learning, at(days=14))
    assert (correction["draft_id"], correction["was_rule"], correction["rule"]) == ("d1#sent", "sent_text", "sent_text")
    assert (correction["cause"], correction["state"], correction["new_evidence"]) == (
        "feedback", "final", [late["event_id"]],
    )  # fmt: skip
    assert flip_rate(lake)["flipped"] == 0, "the verdict stayed"


@pytest.mark.parametrize("returns", [True, False])
def test_a_final_label_that_waits_again_is_held_against_what_it_becomes(
    lake: Lake, build: Callable, make_event: Callable, store: Callable, at: Callable, returns: bool
) -> None:
    reach = [make_event("copied", draft="another", ticket="t9", when=at(days=day)) for day in range(1, 20)]
    events = [make_event("draft_shown"), make_event("accepted", when=at(minutes=5)), *reach]
    store(*events)
    build(SHORT, at(days=5))
    assert verdicts(lake)["d1"] == ("accepted", "final")
    events.append(make_event("accepted", when=at(days=5)))
    store(*events)
    [waits] = build(SHORT, at(days=7))
    assert verdicts(lake)["d1"] == ("accepted", "provisional")
    assert (waits["was_label"], waits["label"], waits["state"], waits["cause"]) == (
        "desirable", "desirable", "provisional", "feedback",
    )  # fmt: skip
    assert build(SHORT, at(days=7, hours=1)) == [], "once"
    if returns:
        events.append(make_event("reopened", draft=None, when=at(days=7)))
        store(*events)
        [overturned] = build(SHORT, at(days=12))
        assert (overturned["was_rule"], overturned["rule"], overturned["state"]) == ("accepted", "reopened", "final")
        assert overturned["was_as_of"] == at(days=5), "when it was final last"
        assert overturned["new_evidence"] == [event["event_id"] for event in events[-2:]]
    else:
        assert build(SHORT, at(days=12)) == []
    assert verdicts(lake)["d1"] == ("reopened" if returns else "accepted", "final")
    assert flip_rate(lake)["flipped"] == int(returns)


def test_a_final_label_that_is_gone_is_corrected_to_nothing(
    lake: Lake, build: Callable, make_event: Callable, store: Callable, at: Callable
) -> None:
    own = parse_policy(f"{TEXT}sent_text: {{when: 'true', tier: strong, weight: 0.7, why: what should have been}}")
    shown = make_event("draft_shown")
    edited = make_event("edited", final_text="quite another text", when=at(minutes=1))
    later = make_event("copied", draft="another", ticket="t9", when=at(days=9))
    store(shown, edited, later)
    build(own, at(days=10))
    assert verdicts(lake) == {"d1": ("edited", "final"), "d1#sent": ("sent_text", "final")}
    [correction] = build(SHORT, at(days=10))
    assert (correction["draft_id"], correction["cause"], correction["label"]) == ("d1#sent", "policy", None)
    store(make_event("copied", draft="another", ticket="t9"))  # in the place of the two
    [correction] = build(SHORT, at(days=11))
    assert (correction["draft_id"], correction["cause"], correction["label"]) == ("d1", "feedback", None)
    assert verdicts(lake) == {}


KINDS = ("accepted", "edited", "thumbs_down", "reopened", "escalated", "draft_shown")
TICKET_KINDS = ("reopened", "escalated")
START = datetime(2026, 3, 2, tzinfo=UTC)
FIRST, SECOND = START + timedelta(days=4), START + timedelta(days=12)
ALL_DAYS = [START.date() + timedelta(days=number) for number in range(3)]


def told(number: int, kind: str, draft: int, hour: int, late: bool) -> dict[str, Any]:
    """An event of the first delivery or, if late, of the second; two drafts make a ticket."""
    delivered = SECOND if late else FIRST
    hour %= 72 if kind == "draft_shown" else 96
    return {
        "event_id": f"e{number:02}", "kind": kind, "occurred_at": START + timedelta(hours=hour),
        "received_at": delivered - timedelta(hours=1), "arrival_date": delivered.date() - timedelta(days=1),
        "ticket_id": f"t{draft // 2}", "draft_id": None if kind in TICKET_KINDS else f"d{draft}",
        "prompt": [{"role": "user", "content": "?"}] if kind == "draft_shown" else None,
        "completion": f"reply {draft}" if kind == "draft_shown" else None,
        "final_text": "another" if kind == "edited" else None,
        "source": "test", "file": "log.jsonl", "line": number,
    }  # fmt: skip


def deliver(lake: Lake, events: list[dict[str, Any]]) -> None:
    rows = [{name: event.get(name) for name in EVENTS.schema.names} for event in events]
    table = pa.Table.from_pylist(rows, schema=EVENTS.schema)
    lake.replace(EVENTS, table, sorted(set(table.column("arrival_date").to_pylist())))


def labelled(lake: Lake, as_of: datetime) -> tuple[dict[tuple[date, str], dict[str, Any]], list[dict[str, Any]]]:
    write_interactions(lake, ALL_DAYS, as_of=as_of)
    written = write_labels(lake, SHORT, ALL_DAYS, as_of=as_of)
    rows = lake.dataset(LABELS).to_table().to_pylist()
    return {(row["shown_date"], row["draft_id"]): row for row in rows}, written.corrections.to_pylist()


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, 11), st.integers(0, 95), st.booleans()),
        min_size=20,
        max_size=60,
    )
)
def test_two_deliveries_end_where_one_does_and_the_corrections_are_the_difference(
    drawn: list[tuple[str, int, int, bool]],
) -> None:
    shown = [("draft_shown", draft, 5 * draft, False) for draft in range(12)]
    events = [told(number, *event) for number, event in enumerate(shown + drawn)]
    early = [event for event in events if event["received_at"] < FIRST]
    with tempfile.TemporaryDirectory() as folder:
        twice, once = Lake(Path(folder) / "twice"), Lake(Path(folder) / "once")
        deliver(twice, early)
        before, none = labelled(twice, FIRST)
        assert none == []
        if len(early) < len(events):
            deliver(twice, [event for event in events if event not in early])
        after, corrections = labelled(twice, SECOND)
        deliver(once, events)
        alone, _ = labelled(once, SECOND)
    assert after == alone

    def verdict(row: dict[str, Any] | None) -> tuple[Any, ...]:
        return tuple((row or {}).get(name) for name in ("label", "tier", "weight", "rule"))

    overturned = {
        key: (verdict(row), verdict(after.get(key)))
        for key, row in before.items()
        if row["state"] == "final" and verdict(row) != verdict(after.get(key))
    }
    was = ("was_label", "was_tier", "was_weight", "was_rule")
    recorded = {
        (row["shown_date"], row["draft_id"]): (tuple(row[name] for name in was), verdict(row)) for row in corrections
    }
    assert recorded == overturned
    assert len(recorded) == len(corrections)
    assert {row["cause"] for row in corrections} <= {"feedback"}
