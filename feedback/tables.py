"""The lake's tables, stage by stage: what each holds and what parts it."""

from __future__ import annotations

import pyarrow as pa

from feedback.events import EVENT_SCHEMA, FILES_SCHEMA, KINDS, MESSAGES, QUARANTINE_SCHEMA, TIME
from feedback.lake import Table

EVENTS = Table(name="events", schema=EVENT_SCHEMA, partition_by=("arrival_date",))
QUARANTINE = Table(name="quarantine", schema=QUARANTINE_SCHEMA, partition_by=("arrival_date",))
FILES = Table(name="files", schema=FILES_SCHEMA, partition_by=("arrival_date",))

_DRAFT = [
    ("draft_id", pa.string()),
    ("ticket_id", pa.string()),
    ("agent_id", pa.string()),
    ("source", pa.string()),
    ("category", pa.string()),
    ("model_version", pa.string()),
    ("shown_at", TIME),
    ("shown_date", pa.date32()),
    ("prompt", MESSAGES),
    ("completion", pa.string()),
    ("final_text", pa.string()),
]

INTERACTIONS = Table(
    name="interactions",
    partition_by=("shown_date",),
    schema=pa.schema(
        [
            *_DRAFT,
            ("decided_at", TIME),
            *((f"{kind}_at", TIME) for group in ("reaction", "moderation", "ticket") for kind in KINDS[group]),
            ("reasons", pa.list_(pa.string())),
            ("edit_similarity", pa.float64()),
            ("edit_kind", pa.string()),
            ("seconds_to_decision", pa.float64()),
            ("extra", pa.string()),
            ("evidence", pa.list_(pa.string())),
            ("as_of", TIME),
        ]
    ),
)

LABELS = Table(
    name="labels",
    partition_by=("shown_date", "label"),
    schema=pa.schema(
        [
            *_DRAFT,
            ("label", pa.string()),
            ("tier", pa.string()),
            ("weight", pa.float64()),
            ("rule", pa.string()),
            ("state", pa.string()),
            ("matures_at", TIME),
            ("policy", pa.string()),
            ("policy_version", pa.int64()),
            ("policy_digest", pa.string()),
            ("evidence", pa.list_(pa.string())),
            ("as_of", TIME),
        ]
    ),
)

AUDIT_SAMPLE = Table(
    name="audit_sample",
    schema=pa.schema(
        [
            *LABELS.schema,
            ("stratum", pa.string()),
            ("inclusion_probability", pa.float64()),
            ("seed", pa.int64()),
        ]
    ),
)
