"""The audit sample: which final labels people are asked to read."""

from __future__ import annotations

import pyarrow as pa

from feedback.lake import Lake
from feedback.tables import AUDIT_SAMPLE, LABELS
from label_policy import Policy, draw_sample


def write_audit_sample(lake: Lake, policy: Policy, *, seed: int) -> pa.Table:
    """Draw the final labels that the policy's audit asks for, replace `audit_sample` by them, and return its rows."""
    with lake.sql(LABELS) as connection:
        final = connection.sql("SELECT * FROM labels WHERE state = 'final' ORDER BY draft_id").to_arrow_table()
    rows = draw_sample(final, policy_digest=policy.digest, seed=seed, per_class=policy.audit.per_class)
    rows = rows.append_column("seed", pa.repeat(seed, rows.num_rows))
    lake.replace(AUDIT_SAMPLE, rows)
    return rows
