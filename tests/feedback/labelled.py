"""A lake of handwritten labels, for tests of their readers."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from feedback.lake.delta import Lake
from feedback.lake.tables import AUDIT_SAMPLE, LABELS

SHOWN = datetime(2026, 3, 2, 12, tzinfo=UTC)


def label(draft_id: str, **fields: Any) -> dict[str, Any]:
    """Return a final label as the lake stores it; fields that are not passed have defaults."""
    row = {
        "draft_id": draft_id,
        "shown_at": SHOWN,
        "shown_date": SHOWN.date(),
        "prompt": [{"role": "user", "content": f"question {draft_id}"}],
        "completion": f"reply {draft_id}",
        "category": "refund",
        "label": "desirable",
        "tier": "strong",
        "rule": "accepted",
        "weight": 1.0,
        "state": "final",
        "policy_digest": "p",
    }
    return {name: {**row, **fields}.get(name) for name in LABELS.schema.names}


def put(lake: Lake, *labels: dict[str, Any], sampled: bool = False) -> None:
    """Store exactly these labels in the lake and, with `sampled`, all of them as its audit sample."""
    lake.replace(LABELS, pa.Table.from_pylist(list(labels), LABELS.schema), [SHOWN.date()])
    if sampled:
        more = {"stratum": "s", "stratum_size": len(labels), "readers": 1, "suspected": False}
        rows = [{**row, **more} for row in labels]
        lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(rows, AUDIT_SAMPLE.schema))
