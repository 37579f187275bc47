"""The event: what one raw log line says happened, and the books that account for every line.

Events are kept as they arrived and never joined or judged here; all later stages are derived from them. `file` and
`line` lead from any event back to the raw line it came from.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from label_policy import DRAFT_COLUMNS, EVENT_KINDS, About

TIME: Final = pa.timestamp("us", tz="UTC")
MESSAGES: Final = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

EVENT_SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),  # unique in the lake; a second delivery is dropped
        pa.field("kind", pa.string(), nullable=False),  # one of label_policy.EVENT_KINDS
        pa.field("occurred_at", TIME, nullable=False),
        pa.field("received_at", TIME, nullable=False),  # when the platform learnt of it; `as_of` cuts here
        pa.field("ticket_id", pa.string(), nullable=False),
        pa.field("draft_id", pa.string()),  # null for ticket outcomes
        pa.field("agent_id", pa.string()),
        pa.field("prompt", MESSAGES),
        pa.field("completion", pa.string()),
        pa.field("final_text", pa.string()),  # what was sent; of a preference, the text not preferred
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("score", pa.float64()),  # of a survey: 0 the worst answer there is, 1 the best
        *(pa.field(column.name, column.type) for column in DRAFT_COLUMNS),
        pa.field("source", pa.string(), nullable=False),
        pa.field("extra", pa.string()),  # JSON of what has no column
        pa.field("arrival_date", pa.date32(), nullable=False),
        pa.field("file", pa.string(), nullable=False),  # path under the input folder
        pa.field("line", pa.int64(), nullable=False),  # 1-based
    ]
)
"""A row an event."""

MAPPED_COLUMNS: Final = tuple(n for n in EVENT_SCHEMA.names if n not in ("arrival_date", "file", "line"))
"""The event columns that a source's SELECT may return, next to `file` and `line`."""

ALL_KINDS: Final = tuple(kind.name for kind in EVENT_KINDS)
"""Every kind of event. Every kind needs a `ticket_id`."""
DRAFT_KINDS: Final = tuple(kind.name for kind in EVENT_KINDS if kind.about is About.DRAFT)
"""Kinds that say something about one draft and so need its `draft_id`."""
TICKET_KINDS: Final = tuple(kind.name for kind in EVENT_KINDS if kind.about is About.TICKET)
"""Kinds that speak of every draft that was shown on the ticket before."""
SHOWING_KINDS: Final = tuple(kind.name for kind in EVENT_KINDS if kind.makes_rows and kind.about is About.DRAFT)
"""Kinds that bring a draft: its interaction."""
RANKING_KINDS: Final = tuple(kind.name for kind in EVENT_KINDS if kind.about is About.RANKING)
"""Kinds that bring two texts: an interaction each."""
ROW_KINDS: Final = SHOWING_KINDS + RANKING_KINDS
"""Kinds that interactions are made of; every other kind tells of these."""

NEEDED_COLUMNS: Final = {kind.name: kind.needs for kind in EVENT_KINDS if kind.needs}
"""Columns without which an event of the kind says nothing."""

SENT_SUFFIX: Final = "#sent"
"""Ends the row id of what an agent sent in place of a draft: `<draft_id>#sent`."""
PREFERRED_SUFFIX: Final = "#preferred"
"""Ends the row id of the better text of a ranking: `<event_id>#preferred`."""
OTHER_SUFFIX: Final = "#other"
"""Ends the row id of the other text of a ranking: `<event_id>#other`."""
ROW_SUFFIXES: Final = (SENT_SUFFIX, PREFERRED_SUFFIX, OTHER_SUFFIX)
"""No draft's id ends in one of these; so no two rows have one id, whatever the events' ids end in."""

IGNORED: Final = "ignored"
"""The kind a mapping gives to a part of a line that is no event; it is counted under its `reason`."""

QUARANTINE_SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64()),  # 1-based; null where the fault is the whole file's
        pa.field("reason", pa.string(), nullable=False),
        pa.field("bytes", pa.binary()),  # the line's first 64 KiB; null where the fault is the whole file's
        pa.field("size", pa.int64()),  # bytes of the line or, for a whole-file fault, of the file
        pa.field("sha256", pa.string()),  # hex, of the line or the file in full
        pa.field("arrival_date", pa.date32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""A row a line that gave no event because something is wrong with it, or a file that cannot be read to its end."""

FILES_SCHEMA: Final = pa.schema(
    [
        pa.field("arrival_date", pa.date32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),  # of the file as it lies, compressed or not
        pa.field("sha256", pa.string()),  # hex, of the file as it lies; null if it cannot be read
        pa.field("lines", pa.int64(), nullable=False),  # = mapped + ignored + quarantined
        pa.field("mapped", pa.int64(), nullable=False),
        pa.field("ignored", pa.int64(), nullable=False),
        pa.field("quarantined", pa.int64(), nullable=False),
        pa.field("events", pa.int64(), nullable=False),  # as mapped; after ingestion those stored
        pa.field("duplicates", pa.int64(), nullable=False),  # events mapped = events stored + duplicates
        pa.field("parts_ignored", pa.string(), nullable=False),  # JSON object: reason -> count
        pa.field("complete", pa.bool_(), nullable=False),
        pa.field("incomplete_reason", pa.string()),  # why the file could not be read to its end
    ]
)
"""The books: a row a file."""
