"""Explanations of a row: its lookup by id, its events, its rules, its fate in training and the sets that hold it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.exceptions import FeedbackError
from feedback.history.explain import Explanation, explain
from feedback.history.row_fate import find_holdings, read_row_fate
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.timeline import read_windows
from feedback.lake.delta import Lake
from feedback.lake.tables import CORRECTIONS, INTERACTIONS, LABELS
from feedback.training_set.build import build_training_set
from feedback.training_set.rows import training_rows
from label_policy import DECISION_SIGNALS, SIGNALS, Policy, compile_policy, compile_sent_texts, parse_policy
from label_policy.engines.trace import awaited_windows

POLICY = """\
name: desk
version: 1
description: A desk.
owner: support
maturity: {reopened: 7d, escalated: 3d}
rules:
  - {id: down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1, why: They said so.}
  - {id: up, when: thumbs_up_at IS NOT NULL, label: desirable, tier: explicit, weight: 1, why: They said so.}
  - {id: preferred, when: preferred_at IS NOT NULL, label: desirable, tier: explicit, weight: 1, why: Chosen.}
  - id: corrected
    when: edited_at IS NOT NULL AND edit_kind = 'factual'
    label: undesirable
    tier: strong
    weight: 0.8
    why: A fact was wrong.
  - {id: reopened, when: reopened_at > accepted_at, label: undesirable, tier: strong, weight: 0.5, why: Came back.}
  - {id: unsure, when: escalated_at IS NOT NULL, label: abstain, why: Who knows.}
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1, why: Sent.}
  - {id: copied, when: copied_at IS NOT NULL, label: desirable, tier: weak, weight: 0.3, why: Used.}
  - {id: dismissed, when: dismissed_at IS NOT NULL, label: undesirable, tier: strong, weight: 0, why: Closed.}
sent_text: {when: edit_kind = 'factual', tier: strong, weight: 0.5, why: What was right.}
training: {tiers: [explicit, strong]}
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY)


@pytest.fixture
def build(lake: Lake, policy: Policy, store: Callable[..., None]) -> Callable[..., None]:
    """Store these events, and the interactions and labels of their days, as of a moment."""

    def run(*events: dict[str, Any], as_of: datetime) -> None:
        store(*events)
        shown = {event["occurred_at"].date() for event in events if event["kind"] in ("draft_shown", "preference")}
        days = sorted(shown)
        write_interactions(lake, days, as_of=as_of)
        write_labels(lake, policy, days, as_of=as_of)

    return run


@pytest.fixture
def ask_row(lake: Lake, policy: Policy, tmp_path: Path) -> Callable[..., Explanation]:
    def ask(row_id: str, *, now: datetime, by: Policy = policy) -> Explanation:
        return explain(lake, by, row_id, deployed=policy, training_sets=tmp_path / "sets", now=now, heldout=0.0)

    return ask


def test_a_draft_is_told_from_its_showing_to_its_label(
    build: Callable, ask_row: Callable, make_event: Callable, at: Callable
) -> None:
    build(
        make_event("draft_shown"),
        make_event("accepted", when=at(minutes=2)),
        make_event("draft_shown", draft="d2", when=at(hours=5)),
        make_event("surveyed", draft=None, when=at(hours=6), score=0.5, received_at=at(days=2)),
        make_event("copied", draft="d9", ticket="t9", when=at(days=4)),
        as_of=at(days=4),
    )
    explanation = ask_row("d1", now=at(days=4))
    assert [(moment.kind, moment.draft_id, moment.counted) for moment in explanation.moments] == [
        ("draft_shown", "d1", True),
        ("accepted", "d1", True),
        ("draft_shown", "d2", True),  # a repeat contact
        ("surveyed", None, True),
    ]
    assert (explanation.moments[1].file, explanation.moments[1].line) == ("log.jsonl", 2)
    assert explanation.measures == {
        "edit_similarity": 1.0, "edit_kind": "none", "seconds_to_decision": 120.0, "survey_score": 0.5,
    }  # fmt: skip
    outcomes = {trace.rule: trace.outcome for trace in explanation.rules}
    assert outcomes["reopened"] == "unknown" and outcomes["up"] == "false"
    assert outcomes["accepted"] == "decides" and outcomes["copied"] == "not reached"
    assert [(window.signal, window.closes, window.came) for window in explanation.windows] == [
        ("escalated", at(days=3, minutes=2), False),
        ("reopened", at(days=7, minutes=2), False),
    ]
    assert explanation.stored is not None and explanation.computed is not None
    assert (explanation.stored.label, explanation.stored.state) == ("desirable", "provisional")
    assert explanation.stored.matures_at == explanation.windows[-1].closes
    assert (explanation.standing.fate, explanation.standing.trains, explanation.holdings) == ("provisional", False, [])


def test_an_event_that_came_after_the_interaction_was_built_is_told_apart(
    build: Callable, ask_row: Callable, make_event: Callable, at: Callable, store: Callable
) -> None:
    events = [make_event("draft_shown"), make_event("accepted", when=at(minutes=2))]
    build(*events, as_of=at(days=1))
    store(
        *events,
        make_event("reopened", draft=None, when=at(days=2)),
        make_event("reopened", draft=None, ticket="t2", when=at(days=2)),
        make_event("thumbs_down", draft="d2", when=at(days=2)),
    )
    explanation = ask_row("d1", now=at(days=3))
    assert [(moment.kind, moment.counted) for moment in explanation.moments] == [
        ("draft_shown", True), ("accepted", True), ("reopened", False),
    ]  # fmt: skip


def test_another_policy_is_held_against_the_stored_label(
    lake: Lake, build: Callable, ask_row: Callable, make_event: Callable, at: Callable, policy: Policy
) -> None:
    build(make_event("draft_shown"), make_event("thumbs_up", when=at(minutes=1)), as_of=at(days=2))
    correction = {
        "draft_id": "d1", "cause": "policy", "was_label": "undesirable", "was_rule": "down", "label": "desirable",
        "rule": "up", "recorded_at": at(days=1),
    }  # fmt: skip
    lake.append(CORRECTIONS, pa.Table.from_pylist([correction], schema=CORRECTIONS.schema))
    other = parse_policy(POLICY.replace("thumbs_up_at IS NOT NULL", "thumbs_up_at IS NULL"))
    explanation = ask_row("d1", now=at(days=30), by=other)
    assert explanation.stored is not None and explanation.computed is not None
    assert (explanation.stored.rule, explanation.computed.rule) == ("up", "no_rule")
    assert not explanation.stored.agrees_with(explanation.computed)
    assert [row["was_rule"] for row in explanation.corrections] == ["down"]
    assert ask_row("d1", now=at(days=30)).stored == explanation.stored


def test_what_was_sent_and_the_texts_of_a_ranking_are_rows_too(
    build: Callable, ask_row: Callable, make_event: Callable, at: Callable
) -> None:
    build(
        make_event("draft_shown", completion="Refunds take 30 days."),
        make_event("edited", when=at(minutes=2), final_text="Refunds take 14 days."),
        make_event("draft_shown", draft="d2", ticket="t2"),
        make_event("preference", draft=None, ticket="t3", prompt=[], completion="better", final_text="worse"),
        make_event("copied", draft="d9", ticket="t9", when=at(days=20)),
        as_of=at(days=20),
    )
    draft = ask_row("d1", now=at(days=20))
    sent = ask_row("d1#sent", now=at(days=20))
    assert draft.sent_text is not None and draft.sent_text.holds and not draft.is_sent_text
    assert sent.is_sent_text and sent.draft == draft.draft
    assert sent.stored is not None and (sent.stored.rule, sent.stored.label) == ("sent_text", "desirable")
    assert sent.windows == [], "it reads the edit alone"
    pair = {"row_id": "d1#sent", "rejected_row_id": "d1", "split": "train"}
    assert draft.standing.pairs == sent.standing.pairs == (pair,)
    better, worse = ask_row("e4#preferred", now=at(days=20)), ask_row("e4#other", now=at(days=20))
    assert (better.other_text, worse.other_text) == ("worse", "better")
    assert [moment.kind for moment in worse.moments] == ["preference"]
    assert better.stored is not None and better.stored.rule == "preferred"


UNKNOWN = {
    "t1": "'t1' is a ticket; explain one of its drafts, such as 'draft-1'",
    "e2": "'e2' is an event; explain its draft, such as 'draft-1'",
    "draft-2": "there is no draft 'draft-2'; similar ids are 'draft-1'",
    "\x1b[31m\u202ex": r"there is no draft '\x1b[31m\u202ex' among 1 interactions; give a draft_id of its raw logs",
    "draft-1'; DROP TABLE x": "there is no draft",
    "draft-1#sent": "there is no row for the text sent in place of 'draft-1': policy desk.v1 makes one only where",
}


def test_an_unknown_row_is_answered_with_what_there_is(
    lake: Lake, build: Callable, ask_row: Callable, make_event: Callable, at: Callable
) -> None:
    build(make_event("draft_shown", draft="draft-1"), make_event("accepted", draft="draft-1"), as_of=at(days=2))
    for row_id, message in UNKNOWN.items():
        with pytest.raises(FeedbackError) as caught:
            ask_row(row_id, now=at(days=2))
        assert message in str(caught.value)
        assert str(caught.value).isprintable()
        if "#sent" not in row_id:
            desk = lake.root.parent
            assert str(caught.value).startswith(f"on desk {desk.name} ({desk}) "), "it says where it looked"


def test_a_draft_can_be_explained_before_it_is_labelled(
    lake: Lake, store: Callable, ask_row: Callable, make_event: Callable, at: Callable
) -> None:
    with pytest.raises(FeedbackError, match="no interactions yet; `feedback-kto run`"):
        ask_row("d1", now=at(days=2))
    store(make_event("rejected"), make_event("draft_shown", prompt=[]))
    write_interactions(lake, [at().date()], as_of=at(days=2))
    explanation = ask_row("d1", now=at(days=2))
    assert [moment.kind for moment in explanation.moments] == ["draft_shown", "rejected"], "at the same moment"
    assert explanation.stored is None and explanation.standing.fate == "not labelled"
    assert explanation.computed is not None and explanation.computed.rule == "no_rule"
    assert {trace.outcome for trace in explanation.rules} <= {"false", "unknown"}


QUESTION = "my address is {}@example.org, where is it?"
FATES = [
    # (draft, prompt's address, completion, signal)
    ("kept", "a", "One.", "thumbs_up"),
    ("repeat", "b", "One. ", "thumbs_up"),  # the same once addresses are redacted and blanks trimmed
    ("overruled", "c", "Two.", "accepted"),
    ("overruling", "d", "Two.", "thumbs_down"),
    ("contradicted", "e", "Three.", "thumbs_down"),
    ("contradicting", "f", "Three.", "thumbs_up"),
    ("blank", "g", "  ", "thumbs_up"),
    ("untrained", "h", "Four.", "copied"),
    ("weightless", "i", "Five.", "dismissed"),
    ("abstains", "j", "Six.", "escalated"),
    ("late", "k", "One.", "thumbs_up"),
]


def test_every_fate_is_the_training_sets_own(
    lake: Lake, build: Callable, make_event: Callable, at: Callable, policy: Policy, tmp_path: Path
) -> None:
    events = []
    for number, (draft, address, completion, signal) in enumerate(FATES):
        prompt = [{"role": "user", "content": QUESTION.format(address)}]
        when = at(minutes=number, days=29 if draft == "late" else 0)
        about = {"draft": draft, "ticket": f"t-{draft}"}
        events += [
            make_event("draft_shown", **about, when=when, prompt=prompt, completion=completion),
            make_event(signal, **about, when=when),
        ]
    build(*events, make_event("copied", draft="x", ticket="x", when=at(days=31)), as_of=at(days=31))
    settings = {"heldout": 0.4, "salt": "heldout"}
    with lake.sql(LABELS) as connection:
        whole = {row["row_id"]: row for row in training_rows(connection, policy, **settings).to_pylist()}
    standing = {
        draft: read_row_fate(lake, policy, draft, day=at(days=29 if draft == "late" else 0).date(), **settings)
        for draft, *_ in FATES
    }
    for draft, found in standing.items():
        if draft in whole:
            assert found.fate == whole[draft]["fate"]
            assert (found.split, found.weight) == (
                (whole[draft]["split"], whole[draft]["weight"]) if found.fate == "kept" else (None, None)
            )
    assert {draft: found.fate for draft, found in standing.items()} == {
        "kept": "kept", "repeat": "duplicate", "overruled": "overruled", "overruling": "kept",
        "contradicted": "contradicted", "contradicting": "contradicted", "blank": "blank",
        "untrained": "tier not trained", "weightless": "weightless", "abstains": "abstains", "late": "duplicate",
    }  # fmt: skip
    assert {draft: found.because_of for draft, found in standing.items() if found.because_of} == {
        "repeat": ("kept",), "overruled": ("overruling",), "contradicted": ("contradicting",),
        "contradicting": ("contradicted",), "late": ("kept",),
    }  # fmt: skip
    assert read_row_fate(lake, policy, "nobody", day=at().date(), **settings).fate == "not labelled"


def test_training_sets_say_which_rows_they_hold(
    lake: Lake, build: Callable, make_event: Callable, at: Callable, policy: Policy, tmp_path: Path
) -> None:
    build(
        make_event("draft_shown", completion="Refunds take 30 days."),
        make_event("edited", when=at(minutes=2), final_text="Refunds take 14 days."),
        make_event("copied", draft="d9", ticket="t9", when=at(days=20)),
        as_of=at(days=20),
    )
    training_set = build_training_set(lake, policy, tmp_path / "sets", heldout=0.0)
    (tmp_path / "sets" / ".half-written" / "desirable").mkdir(parents=True)
    holdings, unsearched = find_holdings(tmp_path / "sets", ["d1", "d1#sent", "nobody"])
    assert unsearched == 0
    assert [(h.version, h.row_id, h.part, h.split) for h in holdings] == [
        (training_set.version, "d1", "preferences", "train"),
        (training_set.version, "d1", "undesirable", "train"),
        (training_set.version, "d1#sent", "desirable", "train"),
        (training_set.version, "d1#sent", "preferences", "train"),
    ]
    assert find_holdings(tmp_path / "absent", ["d1"]) == ([], 0)


def test_only_the_newest_training_sets_are_looked_into(
    lake: Lake,
    build: Callable,
    make_event: Callable,
    at: Callable,
    policy: Policy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("feedback.history.row_fate._MOST_SETS", 2)
    versions = []
    for days in (10, 11, 12):
        up = make_event("thumbs_up", when=at(minutes=1))
        shown = make_event("draft_shown", completion=f"Version {days}.")
        build(shown, up, make_event("copied", draft="d9", ticket="t9", when=at(days=days)), as_of=at(days=days))
        versions.append(build_training_set(lake, policy, tmp_path / "sets", heldout=0.0).version)
    holdings, unsearched = find_holdings(tmp_path / "sets", ["d1"])
    assert ({holding.version for holding in holdings}, unsearched) == (set(versions[1:]), 1)


def test_a_training_set_that_cannot_be_read_is_named(
    lake: Lake, build: Callable, make_event: Callable, at: Callable, policy: Policy, tmp_path: Path
) -> None:
    later = make_event("copied", draft="d9", ticket="t9", when=at(days=10))
    build(make_event("draft_shown"), make_event("thumbs_up", when=at(minutes=1)), later, as_of=at(days=10))
    training_set = build_training_set(lake, policy, tmp_path / "sets", heldout=0.0)
    file = training_set.path / "desirable" / "train-00000.parquet"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(
        FeedbackError, match=f"training set {training_set.version}: {file} is damaged or missing; restore it"
    ):
        explain(lake, policy, "d1", deployed=policy, training_sets=tmp_path / "sets", now=at(days=10), heldout=0.0)


OFFSETS = st.sampled_from([None, -1, 0, 1, 60, 3 * 1440, 7 * 1440])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(SIGNALS, OFFSETS)), min_size=8, max_size=8))
def test_the_last_window_still_open_is_when_the_label_matures(
    policy: Policy, at: Callable, rows: Sequence[dict[str, int | None]]
) -> None:
    table: list[dict[str, Any]] = []
    for number, offsets in enumerate(rows):
        times = {f"{s}_at": None if minutes is None else at(minutes=minutes) for s, minutes in offsets.items()}
        texts = {"completion": "x", "final_text": "y", "edit_kind": "factual"}
        table.append({"draft_id": str(number), "shown_at": at(), **times, **texts})
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("interactions", pa.Table.from_pylist(table, schema=INTERACTIONS.schema))
        verdicts = [
            row
            for query in (compile_policy(policy), compile_sent_texts(policy))
            for row in connection.execute(f"SELECT draft_id, rule, matures_at FROM ({query})").fetchall()
        ]
    for draft_id, rule, matures_at in verdicts:
        row = table[int(draft_id)]
        windows = read_windows(row, awaited_windows(policy, rule))
        base = max(filter(None, [row["shown_at"], *(row[f"{signal}_at"] for signal in DECISION_SIGNALS)]))
        assert matures_at == max((window.closes for window in windows if not window.came), default=base)
