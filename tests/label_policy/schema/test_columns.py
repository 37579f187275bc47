"""Interactions built from events match the policy's contract: the signals that set a column, and blank texts."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from feedback.labels.interactions import build_interactions, write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake
from feedback.lake.event_schema import TICKET_KINDS
from feedback.lake.tables import LABELS
from feedback.training_set.build import build_training_set
from label_policy import (
    DECISION_SIGNALS,
    INTERACTION_COLUMNS,
    RANKING_SIGNALS,
    SIGNALS,
    WHITE_SPACE,
    Policy,
    parse_policy,
)
from label_policy.schema.columns import COLUMN_SIGNALS
from tests.feedback.conftest import at, lake, make_event, store  # noqa: F401

DAY = date(2026, 3, 2)
LATER = datetime(2027, 1, 1, tzinfo=UTC)
LOGGED = [signal for signal in SIGNALS if signal not in RANKING_SIGNALS]
SENT = {"final_text": "Another reply."}
BEFORE: list[list[dict[str, Any]]] = [
    [],
    [{"kind": "accepted"}],
    [{"kind": "edited"}],
    [{"kind": "edited", "final_text": "An edited reply."}],
    [{"kind": "dismissed", "agent_id": "ann", "reasons": ["tone"]}],
    [{"kind": "surveyed", "score": 0.5}],
]


def test_a_signal_changes_the_columns_that_are_reported_to_depend_on_it_and_no_others(
    lake: Lake,  # noqa: F811
    make_event: Callable,  # noqa: F811
    store: Callable,  # noqa: F811
    at: Callable,  # noqa: F811
) -> None:
    """Each signal comes or not after each of several histories, with and without optional event fields."""
    histories: dict[str, tuple[str | None, int]] = {}
    events: list[dict[str, Any]] = []

    def add(signal: str | None, number: int, **carried: Any) -> None:
        draft = f"d{len(histories)}"
        histories[draft] = signal, number
        events.append(make_event("draft_shown", draft=draft, ticket=draft, completion="The reply.", agent_id=None))
        what = [dict(event) for event in BEFORE[number]] + ([{"kind": signal, **carried}] if signal else [])
        for minute, event in enumerate(what, start=1):
            about = None if event["kind"] in TICKET_KINDS else draft
            silent = {"agent_id": None} if minute <= len(BEFORE[number]) else {}
            events.append(make_event(**silent | event, draft=about, ticket=draft, when=at(minutes=minute)))

    for number in range(len(BEFORE)):
        add(None, number)
        for signal in LOGGED:
            for text in ({}, SENT) if signal in ("accepted", "edited") else ({},):
                add(signal, number, reasons=["slow"], score=0.0, agent_id="bob", **text)
    store(*events)
    rows = {row["draft_id"]: row for row in build_interactions(lake, [DAY], as_of=LATER).to_pylist()}
    alone = {number: rows[draft] for draft, (signal, number) in histories.items() if signal is None}
    changed: dict[str, set[str]] = {}
    for draft, (signal, number) in histories.items():
        for column in INTERACTION_COLUMNS.keys() - {"draft_id", "ticket_id"}:
            if signal is not None and rows[draft][column] != alone[number][column]:
                changed.setdefault(column, set()).add(signal)
    assert changed == {
        column: set(signals) & set(LOGGED)
        for column, signals in COLUMN_SIGNALS.items()
        if not {*signals} <= {*RANKING_SIGNALS}
    }
    assert changed["decided_at"] == set(DECISION_SIGNALS)


POLICY = """\
name: desk
version: 1
description: A desk.
owner: us
terms: [refund]
rules:
  - {id: fact, when: edit_kind = 'factual', label: undesirable, tier: strong, weight: 1, why: A fact was wrong.}
  - {id: liked, when: thumbs_up_at IS NOT NULL, label: desirable, tier: weak, weight: 1, why: It was liked.}
  - {id: preferred, when: preferred_at IS NOT NULL, label: desirable, tier: weak, weight: 1, why: It was preferred.}
  - {id: other, when: 'TRUE', label: undesirable, tier: weak, weight: 1, why: x}
sent_text: {when: 'TRUE', tier: strong, weight: 1, why: The agent wrote it.}
"""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return parse_policy(POLICY)


def test_blank_texts_do_not_train(
    lake: Lake,  # noqa: F811
    policy: Policy,
    make_event: Callable,  # noqa: F811
    store: Callable,  # noqa: F811
    at: Callable,  # noqa: F811
    tmp_path,
) -> None:
    """A blank text as the sent text, as a liked draft, and on either side of a ranking."""
    events = []
    for number, blank in enumerate(["", *WHITE_SPACE, WHITE_SPACE]):
        emptied, liked, one, two = (f"{name}{number}" for name in ("emptied", "liked", "one", "two"))
        events += [
            make_event("draft_shown", draft=emptied, ticket=emptied, completion=f"You get a refund {number}."),
            make_event("edited", draft=emptied, ticket=emptied, when=at(minutes=1), final_text=blank),
            make_event("draft_shown", draft=liked, ticket=liked, completion=blank),
            make_event("thumbs_up", draft=liked, ticket=liked, when=at(minutes=1)),
            *(
                make_event("preference", draft=None, ticket=ticket, **texts, prompt=[{"role": "user", "content": "?"}])
                for ticket, texts in (
                    (one, {"completion": blank, "final_text": "b"}),
                    (two, {"completion": f"a {number}", "final_text": blank}),
                )
            ),
        ]
    events += [
        make_event("draft_shown", draft="good", ticket="good", completion="You get a refund."),
        make_event("edited", draft="good", ticket="good", when=at(minutes=1), final_text="\n\tYou get it back.\u2028"),
        make_event("draft_shown", draft="much later", ticket="t2", when=at(days=60)),
    ]
    store(*events)
    write_interactions(lake, [DAY], as_of=LATER)
    write_labels(lake, policy, [DAY], as_of=LATER)
    with lake.sql(LABELS) as connection:
        rules = dict(connection.execute("SELECT draft_id, rule FROM labels WHERE draft_id NOT LIKE 'e%#%'").fetchall())
    assert {draft for draft, rule in rules.items() if rule in ("sent_text", "fact")} == {"good", "good#sent"}

    built = build_training_set(lake, policy, tmp_path / "sets", heldout=0)
    rows = [row for path in built.path.glob("*desirable/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert [row["row_id"] for row in rows if not row["completion"].strip()] == []
    pairs = [row for path in built.path.glob("preferences/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert [(pair["row_id"], pair["chosen"]) for pair in pairs] == [("good#sent", "You get it back.")]
