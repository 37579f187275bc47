"""The rows of the audit sample for reviewers: the question without the policy's label, and the answer with it.

Code that shows or exports a `Question` cannot reveal the label, because a `Question` does not hold it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import duckdb
import pyarrow as pa

from feedback.audits.verdicts import text_digest
from feedback.exceptions import FeedbackError
from feedback.labels.timeline import Moment, read_moments
from feedback.lake.delta import Lake
from feedback.lake.event_schema import OTHER_SUFFIX, PREFERRED_SUFFIX, SENT_SUFFIX
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import AUDIT_SAMPLE, EVENTS, INTERACTIONS
from label_policy import RANKING_SIGNALS

OtherText = Literal["sent", "draft", "ranked"]

_ANSWER: Final = ("draft_id", "label", "tier", "weight", "rule", "policy", "policy_version", "policy_digest")
_REVEALING: Final = frozenset({"label", "tier", "rule", "weight"})
_KEY_DIGITS: Final = 20
_RANKED: Final = (PREFERRED_SUFFIX, OTHER_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A row of the sample without the policy's label.

    Attributes:
        key: the row's public id; a row's draft_id can reveal where the text comes from.
        draft_id: the draft that the row is about, as in the raw logs.
        ticket_id, agent_id, source, model_version, category: as logged.
        shown_at: when the draft was shown.
        prompt: the conversation so far.
        text: the text to judge.
        other: a second text to compare it with, if the row has one.
        other_is: what the second text is: sent in the draft's place, the draft that the text replaced, or one that was
            shown side by side with it; None where the row has no second text.
        digest: `feedback.audits.verdicts.text_digest` of prompt and text.
        readers: how many people must read it.
        facets: values to filter rows by that reveal nothing about their labels, by column.

    """

    key: str
    draft_id: str
    ticket_id: str | None
    agent_id: str | None
    source: str | None
    model_version: str | None
    category: str | None
    shown_at: datetime
    prompt: list[dict[str, str | None]]
    text: str
    other: str | None
    other_is: OtherText | None
    digest: str
    readers: int
    facets: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The policy's label of a row; shown only to people who have given a verdict on it."""

    draft_id: str
    label: str
    tier: str | None
    weight: float
    rule: str
    policy: str
    policy_version: int
    policy_digest: str


def row_key(draft_id: str) -> str:
    """Return the row's id for addresses and files; it does not reveal which row of its draft this is."""
    return hashlib.sha256(draft_id.encode()).hexdigest()[:_KEY_DIGITS]


class Sample:
    """The sample of one draw and the events of its drafts, read once; safe for several threads.

    Args:
        lake: holds the sample.
        strata: the columns that the sample was stratified by; those that do not reveal the label become facets.

    Raises:
        FeedbackError: no sample has been drawn yet.

    """

    def __init__(self, lake: Lake, strata: Sequence[str] = ("category",)) -> None:
        # The version is read first: a sample drawn in between then counts as newer.
        self.version = lake.version(AUDIT_SAMPLE)
        drawn = lake.dataset(AUDIT_SAMPLE).to_table()
        if drawn.num_rows == 0:
            raise FeedbackError(
                f"{lake.path(AUDIT_SAMPLE)} holds no rows to read; `feedback-kto audit draw` draws them"
            )
        columns = [name for name in strata if name not in _REVEALING and name in AUDIT_SAMPLE.schema.names]
        self.facets: tuple[str, ...] = (*columns, "month")
        self._rows = {row_key(row["draft_id"]): row for row in drawn.to_pylist()}
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        self._interactions = _load(self._connection, lake, list(self._rows.values()))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in the order of the draw, which is random."""
        return iter(self._rows)

    def readers(self, key: str) -> int:
        """Return how many people must read the row."""
        return int(self._rows[key]["readers"] or 1)

    def facet(self, key: str, name: str) -> str | None:
        """Return the row's value of a facet."""
        row = self._rows[key]
        value = f"{row['shown_date']:%Y-%m}" if name == "month" else row[name]
        return None if value is None else str(value)

    def draft_id(self, key: str) -> str:
        """Return the row's draft_id in the sample."""
        return str(self._rows[key]["draft_id"])

    def question(self, key: str) -> Question:
        """Return what a reviewer may see of the row before the verdict."""
        row = self._rows[key]
        draft = self._interactions.get(_draft_of(row["draft_id"]))
        other, other_is = self._other(row, draft)
        facts = ("ticket_id", "agent_id", "source", "model_version", "category", "shown_at")
        return Question(
            key=key,
            draft_id=_draft_of(row["draft_id"]),
            **{name: row[name] for name in facts},
            prompt=row["prompt"] or [],
            text=row["completion"] or "",
            other=other,
            other_is=other_is,
            digest=text_digest(row["prompt"], row["completion"]),
            readers=self.readers(key),
            facets={name: self.facet(key, name) for name in self.facets},
        )

    def moments(self, key: str) -> list[Moment]:
        """Return what happened to the row's draft, in order; an empty list where its interaction is gone."""
        draft = self._interactions.get(_draft_of(self._rows[key]["draft_id"]))
        if draft is None:
            return []
        with self._lock:
            return read_moments(self._connection, draft)

    def answer(self, key: str) -> Answer:
        """Return the policy's label of the row."""
        return Answer(**{name: self._rows[key][name] for name in _ANSWER})

    def _other(self, row: Mapping[str, Any], draft: Mapping[str, Any] | None) -> tuple[str | None, OtherText | None]:
        draft_id = str(row["draft_id"])
        if draft_id.endswith(SENT_SUFFIX):
            return (draft["completion"], "draft") if draft else (None, None)
        if draft_id.endswith(_RANKED):
            other = self._interactions.get(_ranked_with(draft_id))
            return (other["completion"], "ranked") if other else (None, None)
        return row["final_text"], "sent"


def _draft_of(row_id: str) -> str:
    return row_id.removesuffix(SENT_SUFFIX)


def _ranked_with(row_id: str) -> str:
    """Return the id of the other row of a ranking."""
    event = row_id.rpartition("#")[0]
    better, worse = (f"{event}{suffix}" for suffix in _RANKED)
    return worse if row_id == better else better


_INTERACTIONS = f"""
SELECT draft_id, ticket_id, agent_id, shown_at, completion, evidence,
    {", ".join(f"{signal}_at" for signal in RANKING_SIGNALS)}
FROM interactions SEMI JOIN wanted USING (draft_id)
"""
# All events that `read_moments` may need, of all rows: `events` is read once and not once a row.
_EVENTS = """
SELECT * EXCLUDE (prompt, completion, final_text, extra) FROM stored
WHERE arrival_date >= $first AND (
    event_id IN (SELECT unnest(evidence) FROM drafts)
    OR draft_id IN (SELECT draft_id FROM drafts)
    OR ticket_id IN (SELECT ticket_id FROM drafts)
)
"""


def _load(connection: duckdb.DuckDBPyConnection, lake: Lake, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Create the table `events` with all events of the rows' drafts; return the drafts' interactions by draft."""
    ids = {_draft_of(row["draft_id"]) for row in rows}
    ids |= {_ranked_with(row_id) for row_id in ids if row_id.endswith(_RANKED)}
    wanted = pa.table({"draft_id": pa.array(sorted(ids), pa.string())})
    with lake.sql(wanted=wanted) as source:
        view_stored(source, lake, INTERACTIONS, days={row["shown_date"] for row in rows})
        view_stored(source, lake, EVENTS, name="stored")
        drafts = source.sql(_INTERACTIONS).to_arrow_table()
        source.register("drafts", drafts)
        first = source.execute("SELECT min(shown_at)::DATE - 1 FROM drafts").fetchall()[0][0]
        events = source.sql(_EVENTS, params={"first": first}).to_arrow_table()
    connection.register("loaded_events", events)
    connection.execute("CREATE TABLE events AS SELECT * FROM loaded_events")
    connection.unregister("loaded_events")
    return {draft["draft_id"]: draft for draft in drafts.to_pylist()}
