"""The canonical event form, which the desk's log lines have."""

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from harbor.tickets import Message

TICKET_KINDS = frozenset({"resolved", "unresolved", "reopened", "escalated"})


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of the log; times are UTC.

    `draft_id` is null for ticket-level kinds. Only `draft_shown` has `prompt`, `completion`, `category` and
    `model_version`. `final_text` comes with a text that was sent to the customer, `reasons` with a complaint.
    """

    event_id: str
    kind: str
    occurred_at: datetime
    received_at: datetime
    ticket_id: str
    draft_id: str | None = None
    agent_id: str | None = None
    prompt: list[Message] | None = None
    completion: str | None = None
    final_text: str | None = None
    reasons: tuple[str, ...] | None = None
    category: str | None = None
    model_version: str | None = None
    source: str = "harbor"
    extra: dict[str, str] | None = None

    def to_line(self) -> str:
        """Return the event as one line of JSON, without its null columns."""
        columns = {name: value for name, value in asdict(self).items() if value is not None}
        columns["occurred_at"] = _iso(self.occurred_at)
        columns["received_at"] = _iso(self.received_at)
        return json.dumps(columns, ensure_ascii=False)

    def redelivered(self, after: timedelta) -> "Event":
        """Return the same event as a second delivery: the id stays, the arrival is `after` later."""
        return replace(self, received_at=self.received_at + after)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
