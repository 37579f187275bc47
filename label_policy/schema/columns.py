"""The columns of an interaction that a condition may read, their types, and the signals behind them.

This is the contract between the data (`feedback` builds exactly these columns) and the policy (conditions are checked
against them). A column that is not listed here, such as ``prompt``, exists in the table but conditions cannot read it.
"""

from enum import StrEnum

import pyarrow as pa

from label_policy.schema.draft_columns import DRAFT_COLUMNS
from label_policy.schema.event_kinds import EVENT_KINDS


class ValueType(StrEnum):
    """The type of a column or an expression, named as in error messages."""

    TEXT = "text"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    TIME = "a time"
    SPAN = "a time span"
    TEXTS = "a list of text"
    NULL = "NULL"


class EditKind(StrEnum):
    """Kinds of edit, from least to most severe: the values of ``edit_kind``."""

    NONE = "none"
    COSMETIC = "cosmetic"
    WORDING = "wording"
    SUBSTANTIVE = "substantive"
    FACTUAL = "factual"


BELOW_FACTUAL: tuple[EditKind, ...] = tuple(kind for kind in EditKind if kind not in (EditKind.NONE, EditKind.FACTUAL))
"""The kinds of edit that become factual where the edit changes one of a policy's terms."""

SIGNALS: tuple[str, ...] = tuple(dict.fromkeys(signal for kind in EVENT_KINDS for signal in kind.signals))
"""Everything that can happen to a draft after it was shown. Each signal has a column ``<signal>_at``: the time of the
last such event, null if none. ``repeat_contact`` is a logged event, or a later draft shown on the same ticket;
``preferred`` and ``not_preferred`` are the two sides of a ranking."""

DECISION_SIGNALS: tuple[str, ...] = tuple(signal for kind in EVENT_KINDS if kind.decides for signal in kind.signals)
"""Decisions of an agent about a draft: ``decided_at`` is the first time of any of these, and ``seconds_to_decision``
counts to it. A thumb is an opinion, not a decision."""

_VALUE_TYPES = {pa.string(): ValueType.TEXT, pa.float64(): ValueType.NUMBER, pa.bool_(): ValueType.BOOLEAN}

INTERACTION_COLUMNS: dict[str, ValueType] = {
    "draft_id": ValueType.TEXT,
    "ticket_id": ValueType.TEXT,
    "agent_id": ValueType.TEXT,
    "source": ValueType.TEXT,
    **{column.name: _VALUE_TYPES[column.type] for column in DRAFT_COLUMNS if column.is_readable},
    "completion": ValueType.TEXT,
    "final_text": ValueType.TEXT,
    "shown_at": ValueType.TIME,
    "decided_at": ValueType.TIME,
    **{f"{signal}_at": ValueType.TIME for signal in SIGNALS},
    "reasons": ValueType.TEXTS,
    "edit_similarity": ValueType.NUMBER,
    "edit_kind": ValueType.TEXT,
    "seconds_to_decision": ValueType.NUMBER,
    "survey_score": ValueType.NUMBER,
    "extra": ValueType.TEXT,
}
"""Column name to type, for the stored columns that a condition may read."""

SECONDS_TO_READ = "seconds_to_read"
"""A computed column that conditions may read: the draft's characters ÷ the policy's reading speed."""

CONDITION_COLUMNS: dict[str, ValueType] = {**INTERACTION_COLUMNS, SECONDS_TO_READ: ValueType.NUMBER}
"""Column name to type, for all columns that a condition may read."""

COLUMN_VALUES: dict[str, tuple[str, ...]] = {"edit_kind": tuple(EditKind)}
"""Columns with a closed set of values: a misspelt value is an error, not a rule that never fires."""


def _columns_of_kinds() -> dict[str, tuple[str, ...]]:
    """Return the columns that events set besides ``<signal>_at``, with the signals that change them."""
    columns: dict[str, tuple[str, ...]] = {}
    for kind in EVENT_KINDS:
        for column in kind.gives:
            columns[column] = columns.get(column, ()) + kind.signals
    return columns


COLUMN_SIGNALS: dict[str, tuple[str, ...]] = {
    **{f"{signal}_at": (signal,) for signal in SIGNALS},
    "decided_at": DECISION_SIGNALS,
    "seconds_to_decision": DECISION_SIGNALS,
    **_columns_of_kinds(),
    # A reason or an agent can come with any event about the draft or its ticket.
    "reasons": SIGNALS,
    "agent_id": SIGNALS,
}
"""The signals whose arrival can change a column's value: a rule that reads the column depends on them."""


def columns_of(signal: str) -> list[str]:
    """Return the columns that depend on `signal` alone."""
    return [column for column, signals in COLUMN_SIGNALS.items() if signals == (signal,)]
