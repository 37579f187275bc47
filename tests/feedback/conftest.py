"""A lake of handwritten events."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def at() -> Callable[..., datetime]:
    """`at(hours=3)`: that long after noon on 2 March 2026."""
    return lambda **later: NOON + timedelta(**later)


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    """Return an event as the lake stores it; fields that are not passed have defaults."""
    number = 0

    def make(
        kind: str, *, draft: str | None = "d1", ticket: str = "t1", when: datetime = NOON, **fields: Any
    ) -> dict[str, Any]:
        nonlocal number
        number += 1
        shown = kind == "draft_shown"
        return {
            "event_id": f"e{number}",
            "kind": kind,
            "occurred_at": when,
            "received_at": when,
            "ticket_id": ticket,
            "draft_id": draft,
            "agent_id": "ann",
            "prompt": [{"role": "user", "content": f"ticket {ticket}"}] if shown else None,
            "completion": f"reply {draft}" if shown else None,
            "source": "test",
            # The day before it was received: an arrival day counts only after its end.
            "arrival_date": fields.get("received_at", when).date() - timedelta(days=1),
            "file": "log.jsonl",
            "line": number,
            **fields,
        }

    return make


@pytest.fixture
def store(lake: Lake) -> Callable[..., None]:
    """Store exactly these events in the lake."""

    def put(*events: dict[str, Any]) -> None:
        rows = [{name: event.get(name) for name in EVENTS.schema.names} for event in events]
        table = pa.Table.from_pylist(rows, schema=EVENTS.schema)
        days: list[date] = sorted(set(table.column("arrival_date").to_pylist()))
        lake.replace(EVENTS, table, days)

    return put
