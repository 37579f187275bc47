"""The lake's tables, stage by stage: what each holds and what parts it."""

from __future__ import annotations

import pyarrow as pa

from feedback.lake.delta import Table
from feedback.lake.event_schema import EVENT_SCHEMA, FILES_SCHEMA, MESSAGES, QUARANTINE_SCHEMA, TIME
from label_policy import DRAFT_COLUMNS, SIGNALS

EVENTS = Table(name="events", schema=EVENT_SCHEMA, partition_by=("arrival_date",))
QUARANTINE = Table(name="quarantine", schema=QUARANTINE_SCHEMA, partition_by=("arrival_date",))
FILES = Table(name="files", schema=FILES_SCHEMA, partition_by=("arrival_date",))

_DRAFT = [
    ("draft_id", pa.string()),
    ("ticket_id", pa.string()),
    ("agent_id", pa.string()),
    ("source", pa.string()),
    *((column.name, column.type) for column in DRAFT_COLUMNS),
    ("shown_at", TIME),
    ("shown_date", pa.date32()),
    ("prompt", MESSAGES),
    ("completion", pa.string()),
    ("final_text", pa.string()),
    ("preferred_over", pa.string()),  # draft_id of the text that this one was preferred to
]

_VERDICT = [("label", pa.string()), ("tier", pa.string()), ("weight", pa.float64()), ("rule", pa.string())]

INTERACTIONS = Table(
    name="interactions",
    partition_by=("shown_date",),
    schema=pa.schema(
        [
            *_DRAFT,
            ("decided_at", TIME),
            *((f"{signal}_at", TIME) for signal in SIGNALS),
            ("survey_score", pa.float64()),  # 0 the worst, 1 the best
            ("reasons", pa.list_(pa.string())),
            ("edit_similarity", pa.float64()),
            ("edit_kind", pa.string()),
            ("seconds_to_decision", pa.float64()),
            ("extra", pa.string()),
            ("evidence", pa.list_(pa.string())),
            ("as_of", TIME),
            ("known_until", TIME),  # how far the logs reached that it was made from, and no later than as_of
        ]
    ),
)

LABELS = Table(
    name="labels",
    partition_by=("shown_date", "label"),
    schema=pa.schema(
        [
            *_DRAFT,
            *_VERDICT,
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

LEDGER = Table(
    name="ledger",
    schema=pa.schema(
        [
            ("stage", pa.string()),  # interactions or labels
            ("shown_date", pa.date32()),
            ("how", pa.string()),  # built; or confirmed: a new policy gives the very labels that are there
            ("input_version", pa.int64()),  # Delta version of what it was built from: events, or interactions
            ("output_version", pa.int64()),  # Delta version that holds the rows
            ("policy", pa.string()),  # null for interactions, like the next two
            ("policy_version", pa.int64()),
            ("policy_digest", pa.string()),
            ("as_of", TIME),
            ("recorded_at", TIME),
            ("run_id", pa.string()),
        ]
    ),
)
"""The versions that each day was built from, now and before: appended to, never replaced."""

POLICIES = Table(
    name="policies",
    schema=pa.schema(
        [
            ("policy_digest", pa.string()),
            ("policy", pa.string()),
            ("policy_version", pa.int64()),
            ("text", pa.string()),  # YAML that label_policy.parse_policy reads
            ("recorded_at", TIME),
        ]
    ),
)
"""Every policy that ever labelled, by digest: its file may have changed since."""

CORRECTIONS = Table(
    name="corrections",
    schema=pa.schema(
        [
            ("draft_id", pa.string()),
            ("ticket_id", pa.string()),
            ("shown_date", pa.date32()),
            ("cause", pa.string()),  # a feedback.labels.corrections.Cause
            *((f"was_{name}", type) for name, type in _VERDICT),
            ("was_policy_digest", pa.string()),
            ("was_as_of", TIME),
            *_VERDICT,  # null where there is no such row any more
            ("state", pa.string()),  # final, or provisional: the verdict may stay, it trains no longer
            ("policy_digest", pa.string()),
            ("as_of", TIME),
            ("new_evidence", pa.list_(pa.string())),
            ("recorded_at", TIME),
            ("run_id", pa.string()),
        ]
    ),
)
"""Every final label that later came out otherwise, or is final no longer: appended to, never replaced."""

AUDIT_SAMPLE = Table(
    name="audit_sample",
    schema=pa.schema(
        [
            *LABELS.schema,
            ("stratum", pa.string()),
            ("stratum_size", pa.int64()),  # labels that the stratum held when the sample was drawn
            ("inclusion_probability", pa.float64()),
            ("suspected", pa.bool_()),  # drawn because a model's scores speak against the label
            ("readers", pa.int32()),  # how many people are to read it
            ("seed", pa.int64()),
        ]
    ),
)
"""The labels that people are asked to read, in random order; replaced by each draw."""

VERDICTS = Table(
    name="verdicts",
    schema=pa.schema(
        [
            ("verdict_id", pa.string()),
            ("draft_id", pa.string()),
            ("text_digest", pa.string()),  # of prompt and completion as they were read
            ("reviewer", pa.string()),
            ("verdict", pa.string()),  # a feedback.audits.verdicts.VerdictKind
            ("reason", pa.string()),  # of the list that the review page offers
            ("note", pa.string()),
            ("seconds", pa.float64()),  # from showing the row to the verdict
            ("origin", pa.string()),  # a feedback.audits.verdicts.Origin
            *_VERDICT,  # what the policy said when it was read
            ("stratum", pa.string()),
            ("policy_digest", pa.string()),
            ("recorded_at", TIME),
        ]
    ),
)
"""Verdicts of people on drafts, beside the policy's label at that time: appended to, never replaced."""

OVERRIDES = Table(
    name="overrides",
    schema=pa.schema(
        [
            ("override_id", pa.string()),
            ("policy_digest", pa.string()),  # it opens the gate for this policy and no other
            ("tiers", pa.list_(pa.string())),  # that train although their audit does not let them
            ("who", pa.string()),
            ("why", pa.string()),
            ("expires_at", TIME),
            ("recorded_at", TIME),
        ]
    ),
)
"""Who opened the audit's gate by hand, and why: appended to, never replaced."""
