"""`verdicts`: people's verdicts on the audit sample."""

from collections import Counter

import dagster as dg

from assets.audit_sample import audit_sample
from assets.support.common import OWNERS, DeskResource, column_schema, markdown_table
from assets.support.simulated_verdicts import simulate_verdicts
from feedback.audits.sample import audit_progress
from feedback.audits.verdicts import current_verdicts
from feedback.lake.tables import VERDICTS


@dg.asset(
    group_name="labels",
    kinds={"deltalake"},
    owners=OWNERS["policy"],
    deps=[audit_sample],
    metadata=column_schema(VERDICTS.schema),
)
def verdicts(context: dg.AssetExecutionContext, desk: DeskResource) -> None:
    """People's verdicts on the drafts in the audit sample, from the review page or another tool.

    People add to it at any time; a run counts the current verdicts. On a simulated desk that allows it, a run adds
    verdicts on the unread rows: these are of origin `simulated`.
    """
    active = desk.active()
    simulated = simulate_verdicts(active) if active.settings.audit_simulated else 0
    current = current_verdicts(active.lake)
    origins = Counter(current["origin"].to_pylist())
    counts = Counter(zip(*(current[name].to_pylist() for name in ("origin", "reviewer", "verdict")), strict=True))
    progress = audit_progress(active.lake, "label", "tier")
    context.add_asset_metadata(
        {
            "dagster/row_count": current.num_rows,
            "simulated": origins["simulated"],
            "simulated in this run": simulated,
            "verdicts missing": progress.missing,
            "verdicts": markdown_table(
                ("origin", "reviewer", "verdict", "drafts"), [(*key, count) for key, count in sorted(counts.items())]
            ),
            "progress": markdown_table(
                ("label", "tier", "rows", "read by people", "simulated", "verdicts missing"),
                [(*part.values, part.rows, part.read, part.simulated, part.missing) for part in progress.parts],
            ),
        }
    )
