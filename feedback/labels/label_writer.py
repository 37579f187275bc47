"""Labelling: the labels of some days made, held against the stored ones, and put in their place."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import pyarrow as pa

from feedback.labels.corrections import find_corrections
from feedback.labels.labels import PART_SCHEMA, label_parts
from feedback.labels.ledger import append_entries, keep_policy, refuse_older
from feedback.lake.delta import Lake
from feedback.lake.journals import append
from feedback.lake.parallel import in_order
from feedback.lake.tables import CORRECTIONS, INTERACTIONS, LABELS
from label_policy import Policy

# What summaries and corrections have no use for, and memory need not hold for a year of labels.
_LONG: Final = ["prompt", "completion", "final_text"]
_NO_ROWS: Final = PART_SCHEMA.empty_table().drop_columns(_LONG)


@dataclass(frozen=True, kw_only=True)
class WrittenLabels:
    """The labels that were written, as `label_parts` gives them but for the texts, and what they correct.

    That is in the schema of `CORRECTIONS`.
    """

    rows: pa.Table
    corrections: pa.Table


def write_labels(
    lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime, run_id: str | None = None
) -> WrittenLabels:
    """Label the interactions of `days` and replace those partitions in one commit.

    First the final labels that come out otherwise, or are final no longer, are recorded as corrections, then the labels
    are replaced, then the ledger says from what they were made. A run that is killed in between leaves corrections of
    labels still to come, which are not recorded again, or labels that the ledger does not know, which count as behind;
    the next build of those days completes both.

    Args:
        lake: holds the interactions.
        policy: the policy.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime: the moment that decides which labels are final.
        run_id: of the run that asks, for the ledger and the corrections.

    Raises:
        FeedbackError: the interactions or labels of some of the days are as of a later moment.

    """
    refuse_older(lake, ["interactions", "labels"], days, as_of)
    made_from = lake.version(INTERACTIONS)
    with lake.replacing(LABELS, days) as replacement, ThreadPoolExecutor(1) as pool:

        def write(part: pa.Table) -> pa.Table:
            replacement.write(part)
            return part.drop_columns(_LONG)

        # A part is written while DuckDB makes the next one.
        parts = label_parts(lake, policy, days, as_of=as_of, version=made_from)
        rows = pa.concat_tables([_NO_ROWS, *in_order(pool, write, parts, ahead=1)])
        corrections = find_corrections(lake, rows, policy, days, as_of=as_of, run_id=run_id)
        keep_policy(lake, policy)
        append(lake, CORRECTIONS, corrections)
    append_entries(
        lake, stage="labels", days=days, input_version=made_from, output_version=replacement.version,
        policy=policy, as_of=as_of, run_id=run_id,
    )  # fmt: skip
    return WrittenLabels(rows=rows, corrections=corrections)
