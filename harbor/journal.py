"""Reactions as log files: which draft an agent saw when, and on which day each event arrived.

A day's file holds the events that arrived that day. A reopening is in the file of the day on which it happens;
events after the last day are not there yet. Some lines are delivered twice, the second time a day later under
the same event id. A few lines are damaged, and the whole line follows each: the sender died and tried again.
"""

import gzip
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from harbor.agents import Agent, draw_agents, react
from harbor.log_events import TICKET_KINDS, Event
from harbor.storage import replacing
from harbor.tickets import Ticket, stream

DELIVERED_TWICE = 0.003
DAMAGED = 0.0005
_CHANNELS = ("email", "chat", "web form")
# Relative tickets by hour of the day, UTC, and the share of a working day's tickets that a weekend day has.
_HOURLY = (*(1,) * 6, 3, 6, 9, 10, 10, 9, 8, 9, 9, 8, 7, 5, 4, 3, *(2,) * 4)
_WEEKEND = 0.4


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A draft as it was shown: the ticket that it answers, its ids, the agent, and the time."""

    ticket: Ticket
    completion: str
    ticket_id: str
    draft_id: str
    agent: Agent
    shown_at: datetime


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The log of a desk: the lines of each arrival day, and counts of events, second deliveries and damaged lines."""

    days: Mapping[date, Sequence[str]]
    events: int
    duplicates: int
    damaged: int


def schedule(tickets: Sequence[Ticket], drafts: Sequence[str], *, calendar: Sequence[date], seed: int) -> list[Shown]:
    """Spread the drafts over the days of `calendar`, in order of time, and draw an agent for each."""
    rng = stream("schedule", seed)
    agents = draw_agents(seed=seed)
    load = [1.0 if day.weekday() < 5 else _WEEKEND for day in calendar]
    moments = sorted(
        datetime.combine(day, time(hour), tzinfo=UTC) + timedelta(milliseconds=rng.randrange(3_600_000))
        for day, hour in zip(
            rng.choices(calendar, load, k=len(tickets)),
            rng.choices(range(24), _HOURLY, k=len(tickets)),
            strict=True,
        )
    )
    shown = []
    numbers: defaultdict[date, int] = defaultdict(int)
    for ticket, draft, moment in zip(tickets, drafts, moments, strict=True):
        numbers[moment.date()] += 1
        ticket_id = f"HS-{moment:%y%m%d}-{numbers[moment.date()]:04d}"
        shown.append(
            Shown(
                ticket=ticket,
                completion=draft,
                ticket_id=ticket_id,
                draft_id=f"{ticket_id}-a",
                agent=rng.choice(agents),
                shown_at=moment,
            )
        )
    return shown


def keep_journal(shown: Sequence[Shown], *, model_version: str, calendar: Sequence[date], seed: int) -> Journal:
    """Draw the reactions to every draft, and group the events by arrival day."""
    rng = stream("journal", seed)
    arrivals: dict[date, list[Event]] = {day: [] for day in calendar}
    duplicates = damaged = 0
    for draft in shown:
        for event in _events(draft, model_version, rng):
            deliveries = [event]
            if rng.random() < DELIVERED_TWICE:
                deliveries.append(event.redelivered(timedelta(days=1)))
            for number, delivery in enumerate(deliveries):
                if delivery.received_at.date() in arrivals:
                    arrivals[delivery.received_at.date()].append(delivery)
                    duplicates += number
    events = sum(map(len, arrivals.values())) - duplicates
    lines: dict[date, list[str]] = {}
    for day, arrived in arrivals.items():
        lines[day] = []
        for event in sorted(arrived, key=lambda event: (event.received_at, event.event_id)):
            if rng.random() < DAMAGED:
                lines[day].append(_damage(event, rng))
                damaged += 1
            lines[day].append(event.to_line())
    return Journal(days=lines, events=events, duplicates=duplicates, damaged=damaged)


def write_day(path: Path, lines: Sequence[str]) -> None:
    """Write one day's file, gzipped, all of it or nothing; the same lines give the same bytes."""
    with replacing(path) as beside:
        beside.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def _events(draft: Shown, model_version: str, rng: random.Random) -> Iterator[Event]:
    """Yield the draft's `draft_shown`, then the agent's reactions and the ticket's outcome."""
    yield Event(
        event_id=f"{draft.ticket_id}-0",
        kind="draft_shown",
        occurred_at=draft.shown_at,
        received_at=_arrival(draft.shown_at, rng),
        ticket_id=draft.ticket_id,
        draft_id=draft.draft_id,
        agent_id=draft.agent.agent_id,
        prompt=draft.ticket.prompt,
        completion=draft.completion,
        category=draft.ticket.cell.category,
        model_version=model_version,
        extra={"channel": rng.choice(_CHANNELS)},
    )
    for number, reaction in enumerate(react(draft.ticket, draft.completion, draft.agent, rng), start=1):
        occurred_at = draft.shown_at + reaction.after
        of_ticket = reaction.kind in TICKET_KINDS
        yield Event(
            event_id=f"{draft.ticket_id}-{number}",
            kind=reaction.kind,
            occurred_at=occurred_at,
            received_at=_arrival(occurred_at, rng),
            ticket_id=draft.ticket_id,
            draft_id=None if of_ticket else draft.draft_id,
            agent_id=draft.agent.agent_id,
            final_text=reaction.final_text,
            reasons=reaction.reasons or None,
        )


def _arrival(occurred_at: datetime, rng: random.Random) -> datetime:
    """Draw when an event arrives: within seconds, or minutes later for one in fifty."""
    waits = rng.random() < 0.02
    return occurred_at + timedelta(milliseconds=rng.randint(60_000, 1_500_000) if waits else rng.randint(80, 4_000))


def _damage(event: Event, rng: random.Random) -> str:
    """Return the event's line damaged: cut off, without its id, with an impossible time or a wrong type."""
    line = event.to_line()
    occurred_at = f'"occurred_at": "{event.occurred_at:%Y-%m-%d}'
    return rng.choice(
        (
            line[: rng.randint(20, len(line) - 2)],
            line.replace(f'"event_id": "{event.event_id}", ', "", 1),
            line.replace(occurred_at, f'"occurred_at": "{event.occurred_at:%Y}-13-45', 1),
            line.replace(f'"ticket_id": "{event.ticket_id}"', '"ticket_id": ["?"]', 1),
        )
    )
