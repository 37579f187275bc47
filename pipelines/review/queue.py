"""Hand out the rows of a desk's sample: the claims, verdicts, skips and progress of all its readers.

A row goes to as many people as are to read it, and to nobody twice. A reader who has it on the screen holds a claim,
which ends after a while without a sign of life. The reader's verdict is kept even then.
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
"""Seconds that a row is kept for somebody who gives no sign of life; the page gives one a minute."""

OPEN_SECONDS: Final = 150
"""Seconds after the last sign of life in which a row counts as open in another of the reader's own tabs."""

_PACE: Final = 50
_LEAST_PACE: Final = 5
"""Rows of this sitting before the time for the rest is shown: the first rows are not read at the usual pace."""

_MOST_FORMS: Final = 10_000

Filters = Mapping[str, str | None]
"""Facets, with the value that the chosen rows have."""


@dataclass(frozen=True, kw_only=True)
class CurrentVerdict:
    """A reader's current verdict on a row."""

    verdict: str
    reason: str | None
    note: str | None
    seconds: float | None
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much of some rows is read.

    Attributes:
        done: verdicts by all readers; a row counts as many as it needs.
        total: verdicts that the rows need.
        yours: rows that the reader has judged.
        left: rows that the reader may still get.
        seconds: time for those rows at the reader's pace of this sitting; None until there is one.

    """

    done: int
    total: int
    yours: int
    left: int
    seconds: float | None


@dataclass
class _State:
    sample: Sample
    versions: tuple[int | None, ...]
    verdicts: dict[str, dict[str, CurrentVerdict]]  # by row and reader
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
        self._sitting: dict[str, dict[str, CurrentVerdict]] = {}  # by reader and row, since the page was opened
        self._state = self._load()

    def _load(self) -> _State:
        versions = self._versions()
        sample = Sample(self._lake, self._strata)
        by_draft = {sample.draft_id(key): key for key in sample}
        verdicts: dict[str, dict[str, CurrentVerdict]] = {key: {} for key in sample}
        names: dict[str, str] = {}
        for row in current_verdicts(self._lake).to_pylist():
            if row["origin"] == Origin.SIMULATED:  # nobody has read it
                continue
            names.setdefault(row["reviewer"].casefold(), row["reviewer"])
            if row["draft_id"] in by_draft:
                fields = {name: row[name] for name in ("verdict", "reason", "note", "seconds", "recorded_at")}
                verdicts[by_draft[row["draft_id"]]][row["reviewer"]] = CurrentVerdict(**fields)
        return _State(sample=sample, versions=versions, verdicts=verdicts, names=names)

    def _versions(self) -> tuple[int | None, ...]:
        return tuple(self._lake.version(table) for table in (AUDIT_SAMPLE, LABELS, VERDICTS))

    def refresh(self) -> None:
        """Load what others have written since: a new draw, new labels, imported verdicts."""
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
        """The columns that rows may be chosen by, since they tell nothing about labels."""
        return self._state.sample.facets

    @property
    def kept(self) -> int:
        """The number of current verdicts of this sitting: one per row and reader, without those withdrawn."""
        with self._lock:
            return sum(map(len, self._sitting.values()))

    def values(self) -> dict[str, dict[str | None, int]]:
        """Return the values of every facet, with the number of rows of the sample that have them."""
        sample = self._state.sample
        counts: dict[str, dict[str | None, int]] = {}
        for name in sample.facets:
            values = sorted((sample.facet(key, name) for key in sample), key=lambda value: (value is None, value or ""))
            counts[name] = {value: values.count(value) for value in dict.fromkeys(values)}
        return counts

    def reader(self, name: str) -> str:
        """Return the reader's name as it was first written: Ann and ann are one person."""
        with self._lock:
            return self._state.names.setdefault(name.casefold(), name)

    def readers(self) -> list[str]:
        """Return the names of all who have read or are reading."""
        return sorted(self._state.names.values(), key=str.casefold)

    def next(self, reader: str, filters: Filters) -> str | None:
        """Hand out the next row; None where no row is left for this reader."""
        with self._lock:
            state, now = self._state, self._clock()
            skipped = state.skipped.get(reader, {})
            open_keys = [key for key in self._left(reader, filters) if self._has_room(key, reader)]
            # A row that is open in another tab of the reader stays there, unless nothing else is left.
            elsewhere = {key for key in open_keys if now - self._held(key).get(reader, -OPEN_SECONDS) < OPEN_SECONDS}
            order = sorted(open_keys, key=lambda key: (key in elsewhere, skipped.get(key, -1)))
            if not order:
                return None
            self._hold(order[0], reader)
            return order[0]

    def hold(self, reader: str, key: str) -> bool:
        """Claim a row, or renew the claim; False where others have it."""
        with self._lock:
            if key not in self._state.sample or not (self.verdict(reader, key) or self._has_room(key, reader)):
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
        """Return whether the reader has skipped the row before."""
        return key in self._state.skipped.get(reader, {})

    def verdict(self, reader: str, key: str) -> CurrentVerdict | None:
        """Return the reader's current verdict on a row."""
        return self._state.verdicts.get(key, {}).get(reader)

    def last(self, reader: str) -> str | None:
        """Return the row that the reader has judged last."""
        with self._lock:
            own = {key: verdicts[reader] for key, verdicts in self._state.verdicts.items() if reader in verdicts}
            return max(own, key=lambda key: own[key].recorded_at, default=None)

    def __contains__(self, key: str) -> bool:
        return key in self._state.sample

    def question(self, key: str) -> Question:
        """Return what a reader may see of the row before the verdict."""
        return self._state.sample.question(key)

    def moments(self, key: str) -> list[Moment]:
        """Return the events of the row's draft."""
        return self._state.sample.moments(key)

    def answer(self, reader: str, key: str) -> Answer | None:
        """Return the policy's label of the row; None to a reader who has not judged it."""
        return self._state.sample.answer(key) if self.verdict(reader, key) else None

    def give_verdict(self, reader: str, key: str, *, form: str, digest: str, **fields: Any) -> None:  # noqa: ANN401
        """Keep a verdict. The same form sent again changes nothing, nor does the same verdict from another tab.

        Args:
            reader: the reader's name.
            key: the row's key.
            form: the id of the form that was sent.
            digest: the digest of the text that was shown.
            fields: `verdict`, `reason`, `note` and `seconds`.

        Raises:
            FeedbackError: the row is no longer in the sample, its text has changed, or the verdict is not valid.

        """
        with self._lock:
            if form in self._forms:
                return
            if key not in self._state.sample:
                raise FeedbackError(
                    "this row is not in the audit sample any more, which was drawn anew; go on to the next"
                )
            current = self.verdict(reader, key)
            compared = ("verdict", "reason", "note")
            if current is None or any(getattr(current, name) != fields[name] for name in compared):
                self._append(reader, key, digest=digest, **fields)
            self._forms.append(form)
            self.release(reader, key)
            self._state.skipped.get(reader, {}).pop(key, None)

    def give_reason(self, reader: str, key: str, *, digest: str, reason: str | None) -> bool:
        """Keep a reason after the verdict, as the same verdict with this reason; False without a verdict.

        Raises:
            FeedbackError: the row is no longer in the sample, its text has changed, or the reason is not valid.

        """
        with self._lock:
            current = self.verdict(reader, key)
            if current is None:
                return False
            if current.reason != reason:
                fields = {name: getattr(current, name) for name in ("verdict", "note", "seconds")}
                self._append(reader, key, digest=digest, reason=reason, **fields)
            return True

    def withdraw(self, reader: str, key: str) -> bool:
        """Take back the reader's verdict on a row and hand the row out to them again; False without a verdict."""
        with self._lock:
            if self.verdict(reader, key) is None:
                return False
            self._append(reader, key, verdict=VerdictKind.WITHDRAWN)
            self._hold(key, reader)
            return True

    def _append(self, reader: str, key: str, *, digest: str | None = None, **fields: Any) -> None:  # noqa: ANN401
        before = self._versions()
        now = datetime.now(UTC)
        verdict = Verdict(draft_id=self._state.sample.draft_id(key), reviewer=reader, text_digest=digest, **fields)
        append_verdicts(self._lake, [verdict], origin=Origin.REVIEW, recorded_at=now)
        if fields["verdict"] == VerdictKind.WITHDRAWN:
            del self._state.verdicts[key][reader]
            self._sitting.get(reader, {}).pop(key, None)
        else:
            current = CurrentVerdict(recorded_at=now, **fields)
            self._state.verdicts[key][reader] = self._sitting.setdefault(reader, {})[key] = current
        # One commit is ours; if there are more, somebody else has written as well, and `refresh` loads that.
        after = self._versions()
        expected = (*before[:2], 1 if before[2] is None else before[2] + 1)
        if before == self._state.versions and after == expected:
            self._state.versions = after

    def progress(self, reader: str, filters: Filters) -> Progress:
        """Return how much is read of the rows that the filters choose."""
        with self._lock:
            state = self._state
            chosen = [key for key in state.sample if self._matches(key, filters)]
            needed = {key: state.sample.readers(key) for key in chosen}
            left = sum(1 for _ in self._left(reader, filters))
            pace = self._pace(reader)
            return Progress(
                done=sum(min(len(state.verdicts[key]), needed[key]) for key in chosen),
                total=sum(needed.values()),
                yours=sum(reader in state.verdicts[key] for key in chosen),
                left=left,
                seconds=None if pace is None else pace * left,
            )

    def _pace(self, reader: str) -> float | None:
        """Return the median of the reader's last times, in seconds; the time between rows does not count."""
        own = sorted(self._sitting.get(reader, {}).values(), key=lambda verdict: verdict.recorded_at)
        times = [verdict.seconds for verdict in own if verdict.seconds is not None][-_PACE:]
        return statistics.median(times) if len(times) >= _LEAST_PACE else None

    def _left(self, reader: str, filters: Filters) -> list[str]:
        """Return the rows that the reader has not judged and that lack readers, whoever holds them now."""
        state = self._state
        return [
            key
            for key in state.sample
            if reader not in state.verdicts[key]
            and len(state.verdicts[key]) < state.sample.readers(key)
            and self._matches(key, filters)
        ]

    def _matches(self, key: str, filters: Filters) -> bool:
        return all(self._state.sample.facet(key, name) == value for name, value in filters.items())

    def _held(self, key: str) -> dict[str, float]:
        """Return who holds the row, with the time of the last sign of life."""
        now = self._clock()
        held = self._state.claims.setdefault(key, {})
        for reader in [reader for reader, seen in held.items() if now - seen > CLAIM_SECONDS]:
            del held[reader]
        return held

    def _hold(self, key: str, reader: str) -> None:
        self._state.claims.setdefault(key, {})[reader] = self._clock()

    def _has_room(self, key: str, reader: str) -> bool:
        others = {*self._state.verdicts[key], *self._held(key)} - {reader}
        return len(others) < self._state.sample.readers(key)
