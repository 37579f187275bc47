"""The timeline of one draft: its events in order, and the windows that are still open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb

from feedback.lake.event_schema import ROW_KINDS, SHOWING_KINDS, TICKET_KINDS
from feedback.lake.sql_literals import literals
from label_policy import DECISION_SIGNALS, RANKING_SIGNALS

# What the interaction was made from, and what has come since and belongs to it: see interactions.sql.
_EVENTS = f"""
SELECT
    event_id, kind, occurred_at, received_at, draft_id, agent_id, coalesce(reasons, []) AS reasons, score, file, line,
    list_contains($evidence, event_id) AS counted
FROM events
-- A source's clock may be a day wrong, so a draft's own events never arrive earlier than this.
WHERE arrival_date >= CAST($shown AS DATE) - 1 AND (
    list_contains($evidence, event_id)
    OR (draft_id = $draft AND kind NOT IN ({literals(ROW_KINDS)}))
    OR (ticket_id = $ticket AND occurred_at >= $shown AND kind IN ({literals(TICKET_KINDS)}) AND NOT $ranking)
)
ORDER BY occurred_at, kind NOT IN ({literals(SHOWING_KINDS)}), file, line, event_id
"""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One event about a draft.

    Attributes:
        at: when it happened.
        kind: what happened, one of `label_policy.EVENT_KINDS`.
        draft_id: the draft that the event names; another's for a repeat contact.
        agent_id: who did it, if the log says.
        reasons: that were given.
        score: of a survey.
        received_at: when the platform learnt of it.
        event_id: the event's id.
        file, line: the raw line that it came from.
        counted: whether the stored interaction was made from it; if not, it came too late for that.

    """

    at: datetime
    kind: str
    draft_id: str | None
    agent_id: str | None
    reasons: list[str]
    score: float | None
    received_at: datetime
    event_id: str
    file: str
    line: int
    counted: bool


@dataclass(frozen=True, kw_only=True)
class Window:
    """A signal that can overturn the label.

    Attributes:
        signal: its name.
        closes: until when it is waited for.
        came: whether it came since the last decision, so that the label reckons with it.

    """

    signal: str
    closes: datetime
    came: bool


def read_moments(connection: duckdb.DuckDBPyConnection, interaction: Mapping[str, Any]) -> list[Moment]:
    """The events that an interaction was made from, and those about it that came since, in the order they happened.

    Args:
        connection: sees `events`.
        interaction: a row of `INTERACTIONS`.

    """
    parameters = {
        "evidence": interaction["evidence"],
        "draft": interaction["draft_id"],
        "ticket": interaction["ticket_id"],
        "shown": interaction["shown_at"],
        "ranking": any(interaction[f"{signal}_at"] for signal in RANKING_SIGNALS),
    }
    rows = connection.sql(_EVENTS, params=parameters).to_arrow_table().to_pylist()
    return [Moment(at=row.pop("occurred_at"), **row) for row in rows]


def read_windows(interaction: Mapping[str, Any], windows: Mapping[str, timedelta]) -> list[Window]:
    """Return the windows that a label waits for, the first to close first.

    Args:
        interaction: a row of `INTERACTIONS`.
        windows: the signals that the label waits for; see `label_policy.engines.trace.awaited_windows`.

    """
    decisions: Sequence[datetime | None] = [interaction[f"{signal}_at"] for signal in DECISION_SIGNALS]
    base = max((decided for decided in decisions if decided is not None), default=interaction["shown_at"])
    # As the compiler has it: from the last decision, or from the showing where that is later.
    base = max(base, interaction["shown_at"])
    read = []
    for signal, window in windows.items():
        came = interaction[f"{signal}_at"]
        read.append(Window(signal=signal, closes=base + window, came=came is not None and came >= base))
    return sorted(read, key=lambda window: (window.closes, window.signal))
