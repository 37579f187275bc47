"""`audit_sample`: the labels that people are asked to read."""

import dagster as dg

from assets.labels import labels
from assets.support.common import OWNERS, DeskResource, column_schema, markdown_table
from feedback.audits.sample import write_audit_sample
from feedback.audits.suspects import find_suspects
from feedback.labels.labels import summarise_labels
from feedback.lake.tables import AUDIT_SAMPLE


@dg.asset(
    group_name="labels",
    kinds={"deltalake", "duckdb"},
    owners=OWNERS["policy"],
    deps=[labels],
    metadata=column_schema(AUDIT_SAMPLE.schema),
)
def audit_sample(context: dg.AssetExecutionContext, desk: DeskResource) -> None:
    """A sample of the final labels, stratified as the policy says, with inclusion probabilities.

    The same labels, policy, verdicts and seed give the same sample, whichever run draws it. People are not asked again
    for rows that they have read. Labels that the last evaluation's scores contradict are added, in strata of their own.
    """
    active = desk.active()
    suspects = [(suspect.draft_id, suspect.label) for suspect in find_suspects(active.heldout_scores)]
    rows = write_audit_sample(active.lake, active.policy, seed=active.settings.audit_seed, suspects=suspects)
    context.add_asset_metadata(
        {
            "dagster/row_count": rows.num_rows,
            "rows by rule": markdown_table(
                ("label", "tier", "rule", "rows to read"), summarise_labels(rows, "label", "tier", "rule")
            ),
        }
    )
