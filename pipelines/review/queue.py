"""Who reads which row: claims, verdicts, skips and progress of everybody who reads one desk's sample.

A row goes to as many people as are to read it, and to nobody twice. Whoever has it on the screen holds a claim, which
ends after a while without a sign of life; the verdict itself is taken even then, since nothing said is to be lost.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from feedback.audits.blind_rows import Answer, Question, Sample
from feedback.audits.verdicts import Origin, Verdict, VerdictKind, append_verdicts, current_verdicts
from feedback.exceptions import FeedbackError
from feedback.labels.timeline import Moment
from feedback.lake.delta import Lake
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, VERDICTS

CLAIM_SECONDS: Final = 15 * 60
"""How long a row is kept for somebody who gives no sign of life; the page gives one a minute."""

OPEN_SECONDS: Final = 150
"""How long after the last sign of life a row counts as open in another of the reader's own tabs."""

_PACE: Final = 50
_LEAST_PACE: Final = 5
"""Rows of this sitting before it says how long the rest takes: a first row is read more slowly, or by the way."""

_MOST_FORMS: Final = 10_000

Filters = Mapping[str, str | None]
"""Facet and value: the rows that are asked for."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A verdict that stands."""

    verdict: str
    reason: str | None
    note: str | None
    seconds: float | None
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the reading of some rows is.

    Attributes:
        done, asked: readings by everybody.
        yours: rows that the reader has judged.
        left: rows that the reader may still get.
        seconds: what those will take at the reader's pace of this sitting; None until there is one.

    """

    done: int
    asked: int
    yours: int
    left: int
    seconds: float | None


@dataclass
class _State:
    sample: Sample
    versions: tuple[int | None, ...]
    given: dict[str, dict[str, Given]]
    names: dict[str, str]  # by their folded form, as first written
    claims: dict[str, dict[str, float]] = field(default_factory=dict)
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)


class Queue:
    """Hands out the rows of a desk's sample and takes verdicts; safe for several threads.

    Args:
        lake: the desk's.
        strata: the columns that the sample was drawn by.
        clock: seconds of a clock that only goes forward.

    Raises:
        FeedbackError: no sample has been drawn yet.

    """

    def __init__(
        self, lake: Lake, strata: tuple[str, ...] = ("category",), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lake = lake
        self._strata = strata
        self._clock = clock
        self._lock = threading.RLock()
        self._forms: deque[str] = deque(maxlen=_MOST_FORMS)
        self._skips = 0
        self._sitting: dict[str, dict[str, Given]] = {}  # what stands of what readers said since the page was opened
        self._state = self._load()

    def _load(self) -> _State:
        versions = self._versions()
        sample = Sample(self._lake, self._strata)
        by_draft = {sample.draft_id(key): key for key in sample}
        given: dict[str, dict[str, Given]] = {key: {} for key in sample}
        names: dict[str, str] = {}
        for row in current_verdicts(self._lake).to_pylist():
            if row["origin"] == Origin.SIMULATED:  # nobody has read it
                continue
            names.setdefault(row["reviewer"].casefold(), row["reviewer"])
            if row["draft_id"] in by_draft:
                stands = {name: row[name] for name in ("verdict", "reason", "note", "seconds", "recorded_at")}
                given[by_draft[row["draft_id"]]][row["reviewer"]] = Given(**stands)
        return _State(sample=sample, versions=versions, given=given, names=names)

    def _versions(self) -> tuple[int | None, ...]:
        return tuple(self._lake.version(table) for table in (AUDIT_SAMPLE, LABELS, VERDICTS))

    def refresh(self) -> None:
        """Read anew what others have written: a new draw, new labels, imported verdicts."""
        with self._lock:
            if self._versions() != self._state.versions:
                old, self._state = self._state, self._load()
                keys = set(self._state.sample)
                self._state.names = old.names | self._state.names
                self._state.claims = {key: held for key, held in old.claims.items() if key in keys}
                self._state.skipped = {
                    reviewer: {key: place for key, place in skipped.items() if key in keys}
                    for reviewer, skipped in old.skipped.items()
                }

    @property
    def facets(self) -> tuple[str, ...]:
        """What rows may be chosen by without learning anything about their labels."""
        return self._state.sample.facets

    @property
    def kept(self) -> int:
        """Verdicts of this sitting that stand: one a row and reader, and none that was withdrawn."""
        with self._lock:
            return sum(map(len, self._sitting.values()))

    def values(self) -> dict[str, dict[str | None, int]]:
        """The values of every facet, with how many rows of the sample have them."""
        sample = self._state.sample
        found: dict[str, dict[str | None, int]] = {}
        for name in sample.facets:
            values = sorted((sample.facet(key, name) for key in sample), key=lambda value: (value is None, value or ""))
            found[name] = {value: values.count(value) for value in dict.fromkeys(values)}
        return found

    def reader(self, name: str) -> str:
        """The reader of that name as it was first written: Ann and ann are one person."""
        with self._lock:
            return self._state.names.setdefault(name.casefold(), name)

    def readers(self) -> list[str]:
        """Everybody who has read or is reading."""
        return sorted(self._state.names.values(), key=str.casefold)

    def next(self, reader: str, filters: Filters) -> str | None:
        """Hand out the next row; None where there is none left for this reader."""
        with self._lock:
            state, now = self._state, self._clock()
            skipped = state.skipped.get(reader, {})
            open_keys = [key for key in self._left(reader, filters) if self._has_room(key, reader)]
            # What is open in another tab of the reader's is left to that tab, unless nothing else is left.
            elsewhere = {key for key in open_keys if now - self._held(key).get(reader, -OPEN_SECONDS) < OPEN_SECONDS}
            order = sorted(open_keys, key=lambda key: (key in elsewhere, skipped.get(key, -1)))
            if not order:
                return None
            self._hold(order[0], reader)
            return order[0]

    def hold(self, reader: str, key: str) -> bool:
        """Claim a row, or say that it is still being read; False where others have it."""
        with self._lock:
            if key not in self._state.sample or not (self.given(reader, key) or self._has_room(key, reader)):
                return False
            self._hold(key, reader)
            return True

    def release(self, reader: str, key: str) -> None:
        """Give a row back unread."""
        with self._lock:
            self._state.claims.get(key, {}).pop(reader, None)

    def skip(self, reader: str, key: str) -> None:
        """Put a row at the end of the reader's own queue; others may have it."""
        with self._lock:
            self._skips += 1
            self._state.skipped.setdefault(reader, {})[key] = self._skips
            self.release(reader, key)

    def was_skipped(self, reader: str, key: str) -> bool:
        """Whether the reader has put the row off before."""
        return key in self._state.skipped.get(reader, {})

    def given(self, reader: str, key: str) -> Given | None:
        """The reader's verdict on a row that stands."""
        return self._state.given.get(key, {}).get(reader)

    def last(self, reader: str) -> str | None:
        """The row that the reader has judged last."""
        with self._lock:
            judged = {key: given[reader] for key, given in self._state.given.items() if reader in given}
            return max(judged, key=lambda key: judged[key].recorded_at, default=None)

    def __contains__(self, key: str) -> bool:
        return key in self._state.sample

    def question(self, key: str) -> Question:
        """What a reader may know of the row before the verdict."""
        return self._state.sample.question(key)

    def moments(self, key: str) -> list[Moment]:
        """What happened to the row's draft."""
        return self._state.sample.moments(key)

    def answer(self, reader: str, key: str) -> Answer | None:
        """What the policy made of the row; None to a reader who has not judged it."""
        return self._state.sample.answer(key) if self.given(reader, key) else None

    def judge(self, reader: str, key: str, *, form: str, digest: str, **said: Any) -> None:  # noqa: ANN401
        """Keep a verdict. The same form sent again changes nothing, nor does the same verdict from another tab.

        Args:
            reader: whose verdict it is.
            key: of the row.
            form: names the form that was sent.
            digest: of the text that was shown.
            said: `verdict`, `reason`, `note` and `seconds`.

        Raises:
            FeedbackError: the row is in the sample no longer, its text is another by now, or the verdict is none.

        """
        with self._lock:
            if form in self._forms:
                return
            if key not in self._state.sample:
                raise FeedbackError(
                    "this row is not in the audit sample any more, which was drawn anew; go on to the next"
                )
            stands = self.given(reader, key)
            same = ("verdict", "reason", "note")
            if stands is None or any(getattr(stands, name) != said[name] for name in same):
                self._record(reader, key, digest=digest, **said)
            self._forms.append(form)
            self.release(reader, key)
            self._state.skipped.get(reader, {}).pop(key, None)

    def give_reason(self, reader: str, key: str, *, digest: str, reason: str | None) -> bool:
        """Say why, after the verdict: a verdict like the one that stands, with this reason; False where none stands.

        Raises:
            FeedbackError: the row is in the sample no longer, its text is another by now, or the reason is none.

        """
        with self._lock:
            stands = self.given(reader, key)
            if stands is None:
                return False
            if stands.reason != reason:
                said = {name: getattr(stands, name) for name in ("verdict", "note", "seconds")}
                self._record(reader, key, digest=digest, reason=reason, **said)
            return True

    def withdraw(self, reader: str, key: str) -> bool:
        """Take the reader's verdict on a row back and hand the row out to them again; False where none stands."""
        with self._lock:
            if self.given(reader, key) is None:
                return False
            self._record(reader, key, verdict=VerdictKind.WITHDRAWN)
            self._hold(key, reader)
            return True

    def _record(self, reader: str, key: str, *, digest: str | None = None, **said: Any) -> None:  # noqa: ANN401
        before = self._versions()
        now = datetime.now(UTC)
        verdict = Verdict(draft_id=self._state.sample.draft_id(key), reviewer=reader, text_digest=digest, **said)
        append_verdicts(self._lake, [verdict], origin=Origin.REVIEW, recorded_at=now)
        if said["verdict"] == VerdictKind.WITHDRAWN:
            del self._state.given[key][reader]
            self._sitting.get(reader, {}).pop(key, None)
        else:
            given = Given(recorded_at=now, **said)
            self._state.given[key][reader] = self._sitting.setdefault(reader, {})[key] = given
        # One commit is ours; if there are more, somebody else has written as well, and `refresh` will find that out.
        after = self._versions()
        expected = (*before[:2], 1 if before[2] is None else before[2] + 1)
        if before == self._state.versions and after == expected:
            self._state.versions = after

    def progress(self, reader: str, filters: Filters) -> Progress:
        """How far the reading of the rows is that the filters choose."""
        with self._lock:
            state = self._state
            chosen = [key for key in state.sample if self._matches(key, filters)]
            asked = {key: state.sample.readers(key) for key in chosen}
            left = sum(1 for _ in self._left(reader, filters))
            pace = self._pace(reader)
            return Progress(
                done=sum(min(len(state.given[key]), asked[key]) for key in chosen),
                asked=sum(asked.values()),
                yours=sum(reader in state.given[key] for key in chosen),
                left=left,
                seconds=None if pace is None else pace * left,
            )

    def _pace(self, reader: str) -> float | None:
        """The median of the reader's last times; what lies in between, such as the next page, is not counted."""
        own = sorted(self._sitting.get(reader, {}).values(), key=lambda given: given.recorded_at)
        times = [given.seconds for given in own if given.seconds is not None][-_PACE:]
        return statistics.median(times) if len(times) >= _LEAST_PACE else None

    def _left(self, reader: str, filters: Filters) -> list[str]:
        """The rows that the reader has not judged and that lack readers, whoever holds them now."""
        state = self._state
        return [
            key
            for key in state.sample
            if reader not in state.given[key]
            and len(state.given[key]) < state.sample.readers(key)
            and self._matches(key, filters)
        ]

    def _matches(self, key: str, filters: Filters) -> bool:
        return all(self._state.sample.facet(key, name) == value for name, value in filters.items())

    def _held(self, key: str) -> dict[str, float]:
        """Who holds the row, and since when there was no sign of life."""
        now = self._clock()
        held = self._state.claims.setdefault(key, {})
        for reader in [reader for reader, seen in held.items() if now - seen > CLAIM_SECONDS]:
            del held[reader]
        return held

    def _hold(self, key: str, reader: str) -> None:
        self._state.claims.setdefault(key, {})[reader] = self._clock()

    def _has_room(self, key: str, reader: str) -> bool:
        others = {*self._state.given[key], *self._held(key)} - {reader}
        return len(others) < self._state.sample.readers(key)
