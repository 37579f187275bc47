"""Random histories of a few drafts, for properties that hold in any order and delay of events."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, FILES

FIRST = date(2026, 3, 2)
DAYS = 6
_KINDS = (
    "draft_shown", "draft_shown", "accepted", "accepted", "edited", "rejected", "thumbs_up", "thumbs_down", "reopened",
    "resolved", "preference",
)  # fmt: skip


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def night(number: int) -> datetime:
    """Return two in the morning after day `number`."""
    return datetime(FIRST.year, FIRST.month, FIRST.day, 2, tzinfo=UTC) + timedelta(days=number + 1)


def logged_events(most: int = 25, least: int = 1) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw events as the lake stores them, each received on the day it happened or up to three days later."""
    parts = st.tuples(
        st.sampled_from(_KINDS),
        st.integers(0, 3),
        st.integers(0, DAYS - 1),
        st.integers(0, 23),
        st.sampled_from((0, 0, 0, 1, 3)),
    )
    drawn = st.lists(parts, min_size=least, max_size=most)
    return drawn.map(lambda events: [_event(number, *event) for number, event in enumerate(events)])


def _event(number: int, kind: str, draft: int, days: int, hour: int, late: int) -> dict[str, Any]:
    when = datetime(2026, 3, 2, hour, tzinfo=UTC) + timedelta(days=days)
    received = when + timedelta(days=late)
    texts = kind in ("draft_shown", "preference")
    return dict.fromkeys(EVENTS.schema.names) | {
        "event_id": f"e{number:03}",
        "kind": kind,
        "occurred_at": when,
        "received_at": received,
        "ticket_id": f"t{draft // 2}",
        "draft_id": None if kind in ("reopened", "resolved", "preference") else f"d{draft}",
        "prompt": [{"role": "user", "content": f"question {draft}"}] if texts else None,
        "completion": f"reply {draft} of {number}" if texts else None,
        "final_text": f"reply {draft} but {number}" if kind in ("edited", "preference") else None,
        "source": "test",
        "arrival_date": received.date(),
        "file": f"{received.date()}.jsonl",
        "line": number,
    }


def arrive(lake: Lake, events: Sequence[dict[str, Any]], *, until: date, without: Collection[date] = ()) -> None:
    """Store the events that arrived up to `until`, and books of a file a day; nothing of the days `without`."""
    arrived = [event for event in events if event["arrival_date"] <= until and event["arrival_date"] not in without]
    rows = pa.Table.from_pylist(arrived, EVENTS.schema)
    days = [day(n) for n in range((until - FIRST).days + 1)]
    book = dict.fromkeys(FILES.schema.names, 0) | {"source": "test", "complete": True, "parts_ignored": "{}"}
    book |= {"sha256": None, "incomplete_reason": None}
    count = Counter(rows.column("arrival_date").to_pylist())
    books = [
        book | {"arrival_date": each, "file": f"{each}.jsonl", "events": count[each]}
        for each in days
        if each not in without
    ]
    lake.replace(FILES, pa.Table.from_pylist(books, FILES.schema), days)
    lake.replace(EVENTS, rows, days)
