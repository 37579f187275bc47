"""Generated logs in the canonical form, vectorised: a desk whose agents react to drafts, day after day.

A third of the events show drafts. The others are agents' reactions and tickets' outcomes, some of them days later. One
event in a thousand is delivered twice, and a few lines a day are broken. The same number of events and seed give the
same bytes.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import numpy as np
import polars as pl

FIRST_DAY = date(2026, 1, 5)
DAYS_SHOWN = 60
_EVENTS_A_DRAFT = 2.96  # by the shares below
_DRAFTS_A_TICKET = 1.6
_BROKEN_A_DAY = 3
_BROKEN_LINE = '{"event_id": "broken", "kind": "acc'
_SECOND, _HOUR, _DAY = 1_000_000, 3_600_000_000, 86_400_000_000  # times are microseconds since 1970

_CATEGORIES = ("billing", "delivery", "refunds", "account", "technical", "other")
_REASONS = ("wrong_tone", "too_long", "outdated", "wrong_routing", "hallucinated_policy", "unsafe_advice")
_OPENINGS = ("Hello,", "Hi there,", "Good morning,", "Dear customer,")
_COMPLAINTS = (
    "I placed an order last week and it still has not arrived.",
    "The invoice shows a charge that I do not recognise.",
    'Your app says "session expired" every time I open it.',
    "I would like to return the item because it does not fit.",
    "Nobody answered my first message.",
    "My card was charged twice for the same thing.",
    "The parcel was left at a neighbour’s door and is gone.",
    "I cannot sign in since I changed my e-mail address.",
    "Das Gerät geht nach zwei Minuten wieder aus.",
    "Please tell me how long this is going to take.",
    "I was promised a callback on Monday.",
    "The discount from your newsletter was not applied.",
)
_REPLIES = (
    "I have checked the order and the parcel left our warehouse yesterday.",
    "You can send it back free of charge with the label in your account.",
    "The refund goes to the card that you paid with.",
    "Please sign out everywhere, then sign in again with the new address.",
    "Our delivery partner has opened an investigation.",
    "The second charge is a reservation and disappears by itself.",
    "I have added the discount to your account.",
    "A colleague from the technical team will call you back.",
    "If anything is unclear, just answer this message.\nWe are here until 8 pm.",
)


def generate(folder: Path, *, events: int, seed: int = 0, days: int = DAYS_SHOWN) -> dict[str, int]:
    """Write `folder/YYYY-MM-DD.jsonl.gz`, a file an arrival day, with about `events` events.

    Returns:
        Counts of what was written: `events` (without second deliveries and broken lines), `drafts`, `lines`, `files`,
        and `bytes` before compression.

    """
    desk = _Desk(np.random.default_rng(seed), round(events / _EVENTS_A_DRAFT), days)
    lines = pl.concat([desk.drafts(), *desk.reactions(), *desk.outcomes()])
    counts = {"events": lines.height, "drafts": desk.shown.height, "lines": 0, "files": 0, "bytes": 0}
    repeated = lines.sample(fraction=0.001, seed=seed).with_columns(pl.col("received") + 300 * _SECOND)
    lines = pl.concat([lines, repeated]).sort("received", "line")
    folder.mkdir(parents=True, exist_ok=True)
    for (day,), of_day in lines.group_by(pl.col("received") // _DAY, maintain_order=True):
        texts = of_day["line"].to_list()
        for place in range(_BROKEN_A_DAY):
            texts.insert(len(texts) * (place + 1) // (_BROKEN_A_DAY + 1), _BROKEN_LINE)
        content = ("\n".join(texts) + "\n").encode()
        name = f"{date(1970, 1, 1) + timedelta(days=int(str(day)))}.jsonl.gz"
        with (folder / name).open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped:
            zipped.write(content)
        counts["lines"] += len(texts)
        counts["files"] += 1
        counts["bytes"] += len(content)
    return counts


def end_of_logs(folder: Path) -> datetime:
    """Return the moment at which the logs in `folder` end; rows are labelled as of it."""
    last = max(path.name[:10] for path in folder.glob("*.jsonl.gz"))
    return datetime.fromisoformat(last).replace(tzinfo=UTC) + timedelta(days=1)


class _Desk:
    """The desk's events, as frames of `received` (microseconds since 1970) and `line` (the event's JSON)."""

    def __init__(self, rng: np.random.Generator, drafts: int, days: int) -> None:
        self.rng = rng
        sizes = rng.geometric(1 / _DRAFTS_A_TICKET, drafts)
        sizes = sizes[: np.searchsorted(np.cumsum(sizes), drafts) + 1]
        first = (FIRST_DAY - date(1970, 1, 1)).days * _DAY
        opened = first + rng.integers(0, days, len(sizes)) * _DAY + rng.integers(8 * _HOUR, 20 * _HOUR, len(sizes))
        tickets = np.repeat(np.arange(len(sizes)), sizes)[:drafts]
        later = np.minimum(rng.exponential(2 * _HOUR, drafts), 30 * _HOUR).astype(np.int64)
        # No draft is shown after the last day: the benchmark labels these days and no others.
        shown = np.minimum(opened[tickets] + later, first + days * _DAY - _SECOND)
        self.shown = pl.DataFrame(
            {
                "ticket_id": _ids("T", tickets),
                "draft_id": _ids("D", np.arange(drafts)),
                "agent_id": pl.Series(rng.integers(0, 300, drafts)).cast(pl.String).str.zfill(3),
                "occurred": shown,
                "category": self._any(_CATEGORIES, drafts),
                "opening": self._any(_OPENINGS, drafts),
                "reply": self._sentences(_REPLIES, drafts, 3),
                "order": rng.integers(100_000, 999_999, drafts),
                "days": rng.integers(2, 30, drafts),
            }
        )
        self.tickets = self.shown.group_by("ticket_id", maintain_order=True).agg(pl.col("occurred").max())

    def drafts(self) -> pl.DataFrame:
        """Return a `draft_shown` for every draft."""
        count = self.shown.height
        frame = self.shown.with_columns(
            complaint=self._sentences(_COMPLAINTS, count, 3),
            again=self._sentences(_COMPLAINTS, count, 2),
            latency=self.rng.integers(200, 3000, count),
        )
        prompt = _text(
            '[{"role":"user","content":"Order <order>. <complaint>"},'
            '{"role":"assistant","content":"Thank you, let me look into that."},{"role":"user","content":"<again>"}]'
        )
        rest = _text(
            ',"draft_id":"<draft_id>","category":"<category>","model_version":"copilot-7","prompt":<prompt>,'
            '"completion":"<reply>","extra":{"locale":"en","latency_ms":<latency>}',
            prompt=prompt,
            reply=_reply(),
        )
        return self._events(frame, "draft_shown", after=0, rest=rest)

    def reactions(self) -> Iterator[pl.DataFrame]:
        """Yield the reactions of agents and moderators to drafts, a frame for each kind."""
        fate = self.rng.random(self.shown.height)
        acted = _text(',"draft_id":"<draft_id>","agent_id":"A<agent_id>"')
        low = 0.0
        for kind, high in (("accepted", 0.50), ("edited", 0.62), ("rejected", 0.70), ("dismissed", 0.87)):
            chosen = self.shown.filter(pl.Series((fate >= low) & (fate < high)))
            low = high
            sent = [self._final_text(chosen.height)] if kind == "edited" else []
            yield self._events(chosen, kind, after=30, rest=pl.concat_str([acted, *sent]))
        yield self._events(self._share(self.shown, 0.06), "copied", after=40, rest=acted)
        yield self._events(self._share(self.shown, 0.10), "thumbs_up", after=300, rest=acted)
        down = self._share(self.shown, 0.05)
        why = self._reason(down.height)
        yield self._events(down, "thumbs_down", after=300, rest=pl.concat_str([acted, why]))
        moderated = _text(',"draft_id":"<draft_id>"')
        yield self._events(self._share(self.shown, 0.02), "approved", after=10 * 3600, rest=moderated)
        yield self._events(self._share(self.shown, 0.005), "flagged", after=10 * 3600, rest=moderated)

    def outcomes(self) -> Iterator[pl.DataFrame]:
        """Yield the outcomes of tickets, hours to days after their last draft, a frame for each kind."""
        for kind, share, days in (
            ("resolved", 0.80, 0.5), ("unresolved", 0.10, 2), ("reopened", 0.10, 3), ("escalated", 0.06, 1),
            ("surveyed", 0.25, 2), ("repeat_contact", 0.05, 4),
        ):  # fmt: skip
            chosen = self._share(self.tickets, share)
            rest = pl.lit("")
            if kind == "escalated":
                rest = self._reason(chosen.height)
            elif kind == "surveyed":
                rest = _text(',"score":<score>', score=pl.lit(pl.Series(self.rng.integers(0, 5, chosen.height) / 4)))
            yield self._events(chosen, kind, after=days * 86_400, rest=rest)

    def _events(self, frame: pl.DataFrame, kind: str, *, after: float, rest: pl.Expr) -> pl.DataFrame:
        """Return log lines of `kind`, on average `after` seconds after `occurred`; `rest` is JSON of the other keys."""
        later = np.minimum(self.rng.exponential(after, frame.height), 10 * 86_400)
        delay = np.minimum(self.rng.exponential(5, frame.height), 80_000)
        frame = frame.with_columns(pl.col("occurred") + pl.Series((later * _SECOND).astype(np.int64)))
        frame = frame.with_columns(received=pl.col("occurred") + pl.Series((delay * _SECOND).astype(np.int64)))
        line = _text(
            f'{{"event_id":"{kind}-<about>","kind":"{kind}","occurred_at":"<at>","received_at":"<in>",'
            '"ticket_id":"<ticket_id>"<rest>}',
            about=pl.col("draft_id" if "draft_id" in frame.columns else "ticket_id"),
            rest=rest,
            **{"at": _iso("occurred"), "in": _iso("received")},
        )
        return frame.select("received", line=line)

    def _final_text(self, count: int) -> pl.Expr:
        """Return the key `final_text` of edits of every kind; some edits lack it, as where a log has no sent text."""
        way = pl.lit(pl.Series(self.rng.random(count)))
        other = pl.lit(self._sentences(_REPLIES, count, 2))
        final = (
            pl.when(way < 0.25)
            .then(_reply(opening=pl.col("opening").str.to_lowercase()))
            .when(way < 0.50)
            .then(_reply(opening=pl.lit("Good afternoon,")))
            .when(way < 0.70)
            .then(_reply(days=pl.col("days") + 7))
            .otherwise(_reply(reply=other))
        )
        return pl.when(way < 0.85).then(_text(',"final_text":"<final>"', final=final)).otherwise(pl.lit(""))

    def _reason(self, count: int) -> pl.Expr:
        return _text(',"reasons":["<reason>"]', reason=pl.lit(self._any(_REASONS, count)))

    def _share(self, frame: pl.DataFrame, share: float) -> pl.DataFrame:
        return frame.filter(pl.Series(self.rng.random(frame.height) < share))

    def _any(self, texts: Sequence[str], count: int) -> pl.Series:
        return pl.Series([json.dumps(text, ensure_ascii=False)[1:-1] for text in texts]).gather(
            self.rng.integers(0, len(texts), count)
        )

    def _sentences(self, bank: Sequence[str], count: int, length: int) -> pl.Series:
        columns = {str(place): self._any(bank, count) for place in range(length)}
        return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=" ")).to_series()


def _reply(**parts: pl.Expr) -> pl.Expr:
    """The text of a reply."""
    return _text("<opening> <reply> It takes up to <days> working days.", **parts)


def _text(template: str, **parts: pl.Expr) -> pl.Expr:
    """Return the template with each `<name>` replaced by the part, or else the column, of that name."""
    pieces = re.split(r"<(\w+)>", template)
    texts = [pl.lit(piece) for piece in pieces[::2]]
    names = [parts.get(name, pl.col(name)).cast(pl.String) for name in pieces[1::2]]
    return pl.concat_str([piece for pair in zip_longest(texts, names) for piece in pair if piece is not None])


def _iso(name: str) -> pl.Expr:
    return pl.from_epoch(pl.col(name), time_unit="us").dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")


def _ids(prefix: str, numbers: np.ndarray) -> pl.Series:
    """Return shuffled ids: multiplication by an odd number that 5 does not divide maps 12 digits one to one."""
    shuffled = (numbers.astype(np.uint64) * np.uint64(387_420_489)) % np.uint64(10**12)
    return prefix + pl.Series(shuffled).cast(pl.String).str.zfill(12)
