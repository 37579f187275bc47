"""Verdicts of people on drafts. A journal; each read decides which verdicts are current.

A verdict is about a text, not about a label. It stays current under another policy, and not after the draft's text has
changed.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import duckdb
import pyarrow as pa

from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake
from feedback.lake.journals import append
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, VERDICTS


class Origin(StrEnum):
    """Where a verdict comes from: the review page, a file, or a simulation."""

    REVIEW = "review"
    IMPORT = "import"
    SIMULATED = "simulated"


class VerdictKind(StrEnum):
    """All kinds of verdicts on a draft; `withdrawn` takes back the reviewer's last verdict on it."""

    DESIRABLE = "desirable"
    UNDESIRABLE = "undesirable"
    UNSURE = "unsure"
    WITHDRAWN = "withdrawn"


ANSWERS: Final = tuple(kind for kind in VerdictKind if kind is not VerdictKind.WITHDRAWN)
"""The kinds that count as an answer."""

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hallucinated_policy": "It states a policy, price or deadline that does not exist.",
        "wrong_routing": "It sends the ticket to the wrong team or person.",
        "wrong_decision": "It grants, refuses or promises the wrong thing.",
        "incomplete": "It leaves out what the customer needs to know.",
        "not_answering": "It does not answer what was asked.",
        "outdated": "It was right once and is no longer.",
        "unsafe_advice": "Following it could do harm.",
        "privacy_leak": "It tells somebody else's data.",
        "tone": "It is rude, cold or out of place.",
        "language": "It is hard to understand, or in the wrong language.",
        "other": "Something else, as the note says.",
    }
)
"""The reasons that reviewers choose from if a draft is not good, and the meaning of each."""

SIMULATED_PREFIX: Final = "simulated"
"""The names of simulated reviewers begin with this."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of one reviewer on one draft.

    Args:
        draft_id: a draft of the audit sample.
        reviewer: the reviewer's name.
        verdict: one of `VerdictKind`.
        reason: one of `REASONS`, or None.
        note: a note in the reviewer's words.
        seconds: from showing the row to the verdict.
        text_digest: `text_digest` of the shown text; the verdict is refused if the draft's text has changed since.
            None: the reviewer read the text that the sample holds.

    Raises:
        FeedbackError: a field cannot be stored.

    """

    draft_id: str
    reviewer: str
    verdict: str
    reason: str | None = None
    note: str | None = None
    seconds: float | None = None
    text_digest: str | None = None

    def __post_init__(self) -> None:
        subject = f"the verdict on {self.draft_id!r}"
        if self.verdict not in [*VerdictKind]:
            raise FeedbackError(f"{subject} is {self.verdict!r}; it must be one of {', '.join(VerdictKind)}")
        if self.reason is not None and self.reason not in REASONS:
            raise FeedbackError(f"{subject} has the reason {self.reason!r}; it must be one of {', '.join(REASONS)}")
        if not self.reviewer.strip():
            raise FeedbackError(f"{subject} has no reviewer; name one")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise FeedbackError(f"{subject} took {self.seconds} seconds; give a number that is 0 or more, or none")
        for name in ("draft_id", "reviewer", "note"):
            try:
                (getattr(self, name) or "").encode()
            except UnicodeEncodeError:
                raise FeedbackError(f"the {name} of {subject} is no Unicode text; write it again") from None


def text_digest(prompt: Sequence[Mapping[str, str | None]] | None, completion: str | None) -> str:
    """Return the SHA-256, in hexadecimal, of a text's turns and completion; None and an empty text are the same."""
    turns = "".join(_sha256(turn["role"]) + _sha256(turn["content"]) for turn in prompt or ())
    return _sha256(turns + _sha256(completion))


TEXT_DIGEST_SQL: Final = """
sha256(
    coalesce(array_to_string(list_transform(
        prompt, lambda turn: sha256(coalesce(turn.role, '')) || sha256(coalesce(turn.content, ''))
    ), ''), '') || sha256(coalesce(completion, ''))
)
"""
"""`text_digest` of the columns `prompt` and `completion`, as DuckDB computes it."""


def append_verdicts(
    lake: Lake, verdicts: Iterable[Verdict], *, origin: Origin, recorded_at: datetime | None = None
) -> None:
    """Append verdicts on rows of the audit sample, with the policy's labels of the rows, in one commit.

    Args:
        lake: holds the sample.
        verdicts: in the order in which people gave them.
        origin: where they come from.
        recorded_at: aware datetime; by default now.

    Raises:
        FeedbackError: a draft is not in the sample, its text has changed since it was read, a person has the name of a
            simulated reviewer, or a simulated reviewer has another name; then nothing is recorded.

    """
    verdicts = list(verdicts)
    sampled = _sampled(lake, {verdict.draft_id for verdict in verdicts})
    batch, moment = uuid.uuid4().hex, recorded_at or datetime.now(UTC)
    rows = []
    for number, verdict in enumerate(verdicts):
        _check(verdict, sampled.get(verdict.draft_id), origin)
        rows.append(
            {
                # Of two verdicts in one commit the later has the greater id.
                "verdict_id": f"{batch}-{number:06d}",
                "reviewer": verdict.reviewer.strip(),
                "verdict": verdict.verdict,
                "reason": verdict.reason,
                "note": verdict.note,
                "seconds": verdict.seconds,
                "origin": origin,
                "recorded_at": moment,
                **sampled[verdict.draft_id],
            }
        )
    append(lake, VERDICTS, pa.Table.from_pylist(rows, VERDICTS.schema))


def current_verdicts(lake: Lake) -> pa.Table:
    """Return the verdicts that count, at most one for each draft and reviewer.

    That is each reviewer's newest verdict on a draft, if it is not withdrawn and the draft still has the text that was
    read. A simulated verdict counts until a person has read the draft.

    Returns:
        A table in the schema of `VERDICTS`, ordered by draft and reviewer.

    """
    with lake.sql() as connection:
        view_stored(connection, lake, LABELS)
        return current_verdicts_on(connection, lake, labels=LABELS.name)


def current_verdicts_on(connection: duckdb.DuckDBPyConnection, lake: Lake, *, labels: str) -> pa.Table:
    """Return `current_verdicts` on the relation `labels` that `connection` sees; it need not be the lake's."""
    if not lake.exists(VERDICTS):
        return VERDICTS.schema.empty_table()
    view_stored(connection, lake, VERDICTS)
    current = connection.sql(_CURRENT.format(labels=labels)).to_arrow_table()
    return current.select(VERDICTS.schema.names).cast(VERDICTS.schema)


# The labels' texts are read only for rows with a verdict.
_CURRENT = f"""
WITH newest AS (
    SELECT * FROM verdicts
    QUALIFY row_number() OVER (PARTITION BY draft_id, reviewer ORDER BY recorded_at DESC, verdict_id DESC) = 1
),
kept AS MATERIALIZED (SELECT * FROM newest WHERE verdict <> '{VerdictKind.WITHDRAWN}'),
texts AS (
    SELECT draft_id, {TEXT_DIGEST_SQL} AS text_digest FROM {{labels}} WHERE draft_id IN (SELECT draft_id FROM kept)
)
SELECT kept.* FROM kept SEMI JOIN texts USING (draft_id, text_digest)
QUALIFY origin <> '{Origin.SIMULATED}' OR bool_and(origin = '{Origin.SIMULATED}') OVER (PARTITION BY draft_id)
ORDER BY draft_id, reviewer
"""
_SAMPLED = f"""
SELECT draft_id, {TEXT_DIGEST_SQL} AS text_digest, label, tier, weight, rule, stratum, policy_digest
FROM audit_sample WHERE draft_id IN (SELECT draft_id FROM wanted)
"""


def _sampled(lake: Lake, draft_ids: set[str]) -> dict[str, dict[str, Any]]:
    """Return the columns that a verdict's row copies from the sample, by draft."""
    wanted = pa.table({"draft_id": pa.array(sorted(draft_ids), pa.string())})
    with lake.sql(AUDIT_SAMPLE, wanted=wanted) as connection:
        rows = connection.sql(_SAMPLED).to_arrow_table().to_pylist()
    return {row["draft_id"]: row for row in rows}


def _check(verdict: Verdict, sampled: Mapping[str, Any] | None, origin: Origin) -> None:
    if sampled is None:
        raise FeedbackError(
            f"draft {verdict.draft_id!r} is not in the audit sample, so no verdict on it can be kept; "
            "`feedback-kto audit status` says which rows to read"
        )
    if verdict.text_digest not in (None, sampled["text_digest"]):
        raise FeedbackError(f"the text of draft {verdict.draft_id!r} has changed since it was read; read it again")
    if verdict.reviewer.strip().casefold().startswith(SIMULATED_PREFIX) != (origin == Origin.SIMULATED):
        raise FeedbackError(
            f"reviewer {verdict.reviewer!r} cannot give a verdict of origin '{origin}': simulated reviewers, and only "
            f"they, have names that begin with '{SIMULATED_PREFIX}'; choose another name"
        )


def _sha256(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()
