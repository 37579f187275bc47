"""A small desk whose audit sample was drawn, with rules of names that stand in no other text."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.audits.sample import write_audit_sample
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.tables import AUDIT_SAMPLE, EVENTS

SHOWN = datetime(2026, 3, 2, 12, tzinfo=UTC)
AS_OF = SHOWN + timedelta(days=9)
RULES = ("zebra_down", "zebra_taken", "zebra_sent_why")
POLICY = """\
name: okapi
version: 7
description: A desk.
owner: support
maturity: {reopened: 7d}
rules:
  - id: zebra_down
    when: thumbs_down_at IS NOT NULL
    label: undesirable
    tier: explicit
    weight: 0.625
    why: Somebody said so, zebra_why.
  - id: zebra_taken
    when: accepted_at IS NOT NULL OR edited_at IS NOT NULL
    label: desirable
    tier: strong
    weight: 0.875
    why: It was sent, zebra_why.
sent_text: {when: edit_kind IS NOT NULL, tier: strong, weight: 0.375, why: zebra_sent_why.}
audit: {overlap: 0}
"""
HOSTILE = (
    "a<b>bold</b> <script>alert('x')</script><img src=x onerror=alert(1)> **md** [l](javascript:alert(1)) {{ 7*7 }} "
    "&lt; ' \" \u202eright\u202c \u200b\u200b\u2066\x00\x1b[31m z\u0301\u0301"
)


def draft(number: int, *reactions: str, text: str | None = None, sent: str | None = None, **given: Any) -> list[Any]:
    """The events of one draft."""
    about = {"draft_id": f"d{number}", "ticket_id": f"t{number}"}
    prompt = [{"role": "system", "content": "Help."}, {"role": "user", "content": f"Question {number}?"}]
    shown = {
        **about, "kind": "draft_shown", "occurred_at": SHOWN, "prompt": prompt, "category": "refund",
        "completion": text or f"Reply {number} takes 30 days.", **given,
    }  # fmt: skip
    return [shown] + [
        {**about, "kind": kind, "occurred_at": SHOWN + timedelta(minutes=place), "final_text": sent}
        for place, kind in enumerate(reactions, start=1)
    ]


def make_desk(home: Path, *drafts: list[Any], readers: Mapping[str, int] | None = None) -> Desk:
    """A desk of these drafts, all of them in its sample, in the order of their ids."""
    home.mkdir(parents=True, exist_ok=True)
    policy = home / "okapi.yaml"
    policy.write_text(POLICY)
    desk = Desk.create(
        home, "desk",
        DeskSettings(
            source="canonical", input=home, policy=str(policy), first_day=date(2026, 3, 1), as_of=AS_OF, heldout=0
        ),
    )  # fmt: skip
    events = [event for events in drafts for event in events]
    events.append(
        {"kind": "copied", "draft_id": "last", "ticket_id": "last", "occurred_at": AS_OF - timedelta(hours=12)}
    )
    rows = []
    for number, event in enumerate(events):
        when = event["occurred_at"]
        made = {
            "event_id": f"e{number}", "received_at": when, "arrival_date": when.date() - timedelta(days=1),
            "file": "log.jsonl", "line": number, "source": "test", "agent_id": "ann",
        }  # fmt: skip
        rows.append({name: (made | event).get(name) for name in EVENTS.schema.names})
    days = sorted({row["arrival_date"] for row in rows})
    desk.lake.replace(EVENTS, pa.Table.from_pylist(rows, EVENTS.schema), days)
    write_interactions(desk.lake, [SHOWN.date()], as_of=AS_OF)
    write_labels(desk.lake, desk.policy, [SHOWN.date()], as_of=AS_OF)
    write_audit_sample(desk.lake, desk.policy, seed=0)
    redraw(desk, readers or {})
    return desk


def redraw(desk: Desk, readers: Mapping[str, int], without: tuple[str, ...] = ()) -> None:
    """Put the sample in the order of its ids, with so many readers, and without some rows."""
    rows = desk.lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    rows = [
        {**row, "readers": readers.get(row["draft_id"], 1)}
        for row in sorted(rows, key=lambda row: (len(row["draft_id"]), row["draft_id"]))
        if row["draft_id"] not in without
    ]
    desk.lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(rows, AUDIT_SAMPLE.schema))
