"""Label days: compute their labels, compare them with the stored ones and replace those."""

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

# Summaries and corrections do not need these columns, and a year of labels with them takes too much memory.
_LONG: Final = ["prompt", "completion", "final_text"]
_NO_ROWS: Final = PART_SCHEMA.empty_table().drop_columns(_LONG)


@dataclass(frozen=True, kw_only=True)
class WrittenLabels:
    """The written labels, as from `label_parts` without texts, and their corrections in the schema of `CORRECTIONS`."""

    rows: pa.Table
    corrections: pa.Table


def write_labels(
    lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime, run_id: str | None = None
) -> WrittenLabels:
    """Label the interactions of `days` and replace those partitions in one commit.

    First, final labels that change or are no longer final are recorded as corrections. Then the labels are replaced.
    Then the ledger records their inputs. A run that is killed in between leaves corrections of labels not yet written,
    which are not recorded again, or labels without a ledger entry, which count as behind. The next build of those days
    completes both.

    Args:
        lake: holds the interactions.
        policy: the policy.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime: the moment that decides which labels are final.
        run_id: id of the calling run, for the ledger and the corrections.

    Raises:
        FeedbackError: the interactions or labels of some of the days are as of a later moment.

    """
    refuse_older(lake, ["interactions", "labels"], days, as_of)
    input_version = lake.version(INTERACTIONS)
    with lake.replacing(LABELS, days) as replacement, ThreadPoolExecutor(1) as pool:

        def write(part: pa.Table) -> pa.Table:
            replacement.write(part)
            return part.drop_columns(_LONG)

        # A part is written while DuckDB computes the next one.
        parts = label_parts(lake, policy, days, as_of=as_of, version=input_version)
        rows = pa.concat_tables([_NO_ROWS, *in_order(pool, write, parts, ahead=1)])
        corrections = find_corrections(lake, rows, policy, days, as_of=as_of, run_id=run_id)
        keep_policy(lake, policy)
        append(lake, CORRECTIONS, corrections)
    append_entries(
        lake, stage="labels", days=days, input_version=input_version, output_version=replacement.version,
        policy=policy, as_of=as_of, run_id=run_id,
    )  # fmt: skip
    return WrittenLabels(rows=rows, corrections=corrections)
