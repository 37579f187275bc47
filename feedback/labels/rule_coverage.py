"""Count what a policy's rules do on the stored interactions."""

from __future__ import annotations

from datetime import datetime

from feedback.labels.labels import view_labels
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import EVENTS, FILES, INTERACTIONS
from label_policy import SENT_TEXT, Policy
from label_policy.checks.rule_counts import Coverage, measure_coverage


def policy_coverage(lake: Lake, policy: Policy, *, as_of: datetime) -> Coverage:
    """Return the policy's rule counts on all stored interactions.

    Args:
        lake: holds the interactions.
        policy: the policy, which need not be the one that labelled them.
        as_of: aware datetime, as in `write_labels`. No count depends on it.

    """
    with lake.sql(FILES) as connection:
        for table in (EVENTS, INTERACTIONS):
            view_stored(connection, lake, table)
        days = [day for (day,) in connection.execute("SELECT DISTINCT shown_date FROM interactions").fetchall()]
        # The labels' own view, so that an edit of one of the policy's terms counts as in the labels.
        view_labels(connection, policy, name="labelled", days=days, as_of=as_of)
        connection.execute(f"CREATE TEMP VIEW drafts AS SELECT * FROM labelled WHERE rule <> '{SENT_TEXT}'")
        return measure_coverage(connection, policy, relation="drafts")
