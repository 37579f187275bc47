import gzip
import hashlib
import json
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harbor import journal
from harbor.journal import Journal, Shown, keep_journal, schedule, write_day
from harbor.replies import write_reply
from harbor.simulation import EDITION
from harbor.tickets import draw_tickets
from harbor.transcripts import past_transcripts

# What each edition of the world writes.
EDITIONS = {1: "f631524324676e14"}
LAST = date(2026, 10, 31)
CALENDAR = [LAST - timedelta(days=back) for back in reversed(range(14))]
DRAFT_KINDS = {"draft_shown", "accepted", "edited", "rejected", "dismissed", "copied", "thumbs_up", "thumbs_down"}
TICKET_KINDS = {"resolved", "unresolved", "reopened", "escalated"}
COLUMNS = {
    *("event_id", "kind", "occurred_at", "received_at", "ticket_id", "draft_id", "agent_id", "prompt"),
    *("completion", "final_text", "reasons", "category", "model_version", "source", "extra"),
}


def drafted(count: int, seed: int = 1) -> list[Shown]:
    tickets = draw_tickets(count, purpose="logged", seed=seed)
    rng = random.Random(seed)
    drafts = [write_reply(ticket.cell, rng, figure="1 days" if rng.random() < 0.4 else None) for ticket in tickets]
    return schedule(tickets, drafts, calendar=CALENDAR, seed=seed)


def kept(shown: list[Shown], seed: int = 1) -> Journal:
    return keep_journal(shown, model_version="copilot", calendar=CALENDAR, seed=seed)


@pytest.fixture(scope="module")
def written() -> Journal:
    return kept(drafted(1500))


def event(line: str) -> dict[str, Any] | None:
    """A line as the canonical form asks for it, or None if it is damaged."""
    try:
        found: dict[str, Any] = json.loads(line)
        moments = [datetime.fromisoformat(found[name]) for name in ("occurred_at", "received_at")]
    except ValueError:
        return None
    if not all(isinstance(found.get(name), str) for name in ("event_id", "ticket_id")):
        return None
    assert all(moment.tzinfo == UTC for moment in moments)
    return found


def test_every_line_that_is_not_damaged_is_a_canonical_event(written: Journal) -> None:
    damaged = 0
    for lines in written.days.values():
        for line in lines:
            found = event(line)
            if found is None:
                damaged += 1
                continue
            assert found["kind"] in DRAFT_KINDS | TICKET_KINDS
            assert found.keys() <= COLUMNS
            assert (found.get("draft_id") is None) == (found["kind"] in TICKET_KINDS)
            assert found["occurred_at"] < found["received_at"]
            if found["kind"] == "draft_shown":
                assert found["completion"]
                assert [turn["role"] for turn in found["prompt"]] == ["system", "user"]
            if found["kind"] in ("accepted", "edited"):
                assert found["final_text"]
    assert damaged == written.damaged > 0


def test_a_file_holds_what_arrived_on_its_day_in_order(written: Journal) -> None:
    assert list(written.days) == CALENDAR
    for day, lines in written.days.items():
        arrivals = [found["received_at"] for line in lines if (found := event(line))]
        assert arrivals == sorted(arrivals)
        assert {arrival[:10] for arrival in arrivals} <= {day.isoformat()}


def test_the_same_id_comes_twice_only_on_the_next_day(written: Journal) -> None:
    days: dict[str, list[date]] = {}
    for day, lines in written.days.items():
        for line in lines:
            if found := event(line):
                days.setdefault(found["event_id"], []).append(day)
    again = [of for of in days.values() if len(of) > 1]
    assert len(again) == written.duplicates > 0
    assert all(second - first == timedelta(days=1) for first, second in again)
    assert len(days) == written.events
    assert sum(map(len, written.days.values())) == written.events + written.duplicates + written.damaged


def test_a_ticket_comes_back_in_a_later_file_and_no_reaction_precedes_its_draft(written: Journal) -> None:
    found = [(day, seen) for day, lines in written.days.items() for line in lines if (seen := event(line))]
    shown = {seen["ticket_id"]: seen["occurred_at"] for _, seen in found if seen["kind"] == "draft_shown"}
    returned = 0
    for day, seen in found:
        shown_at = shown[seen["ticket_id"]]
        assert shown_at <= seen["occurred_at"]
        if seen["kind"] == "reopened":
            assert day.isoformat() > shown_at[:10]
            returned += 1
    assert returned > 20


def test_weekends_and_nights_are_quiet() -> None:
    shown = drafted(3000)
    assert all(first.shown_at <= second.shown_at for first, second in pairwise(shown))
    assert len({draft.draft_id for draft in shown}) == len({draft.ticket_id for draft in shown}) == len(shown)
    days = Counter(draft.shown_at.date() for draft in shown)
    assert set(days) == set(CALENDAR)
    weekend = [count for day, count in days.items() if day.weekday() >= 5]
    assert max(weekend) < min(count for day, count in days.items() if day.weekday() < 5)
    assert sum(draft.shown_at.hour < 6 for draft in shown) < len(shown) / 10


def test_the_same_seed_writes_the_same_bytes(written: Journal, tmp_path: Path) -> None:
    assert kept(drafted(1500)).days == written.days
    assert kept(drafted(1500, seed=2), seed=2).days != written.days
    for name in ("one", "two"):
        write_day(tmp_path / name, written.days[LAST])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert gzip.decompress((tmp_path / "one").read_bytes()).decode().splitlines() == list(written.days[LAST])


def test_damage_comes_in_every_kind_beside_the_whole_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "DAMAGED", 1.0)
    for lines in kept(drafted(60)).days.values():
        for spoiled, whole in zip(lines[::2], lines[1::2], strict=True):
            assert event(spoiled) is None
            assert event(whole) is not None


def test_a_changed_world_has_another_edition() -> None:
    digest = hashlib.sha256()
    for transcript in past_transcripts(500, seed=1):
        digest.update(json.dumps(transcript).encode())
    for lines in kept(drafted(500)).days.values():
        digest.update("\n".join(lines).encode())
    found = digest.hexdigest()[:16]
    assert EDITIONS[EDITION] == found, "raise harbor.simulation.EDITION and write its digest down here"
