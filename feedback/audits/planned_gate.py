"""What the audit's gate makes of a change of policy: of the labels as they were, and as they would be.

For labels that nobody has written yet, the sample is drawn that a draw right after the change would draw, and the
verdicts that would stand on it are counted: the same code in the same order, so that it comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from feedback.audits.audit_outcome import decide_audit, measure_audit
from feedback.audits.label_quality import measure_sample
from feedback.audits.sample import draw
from feedback.audits.verdicts import current_verdicts_on
from feedback.lake.delta import Lake
from label_policy import Policy
from label_policy.audits.audit_gate import AuditGate, bounds


def _nothing_is_suspected() -> Sequence[tuple[str, str]]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """How a desk audits.

    Attributes:
        seed: which of the possible samples it draws.
        suspects: gives what a draw takes in besides, as `feedback.audits.sample.write_audit_sample` takes it; called
            only where there is something to draw.
        simulated: whether verdicts that nobody gave count.

    """

    seed: int = 0
    suspects: Callable[[], Sequence[tuple[str, str]]] = _nothing_is_suspected
    simulated: bool = False


@dataclass(frozen=True, kw_only=True)
class Gates:
    """What the gate makes of the old side of a change and of the new one; before is None where its policy is gone."""

    before: AuditGate | None
    after: AuditGate

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"before": self.before and self.before.as_dict(), "after": self.after.as_dict()}


def decide_stored(lake: Lake, policy: Policy, auditing: Auditing) -> AuditGate:
    """The gate of the labels in the lake, by the sample that is drawn of them: what the audit's report says now."""
    if not bounds(policy.audit, policy.training):
        return _NOT_ASKED
    return measure_audit(lake, policy, simulated=auditing.simulated).gate


def decide_planned(
    connection: duckdb.DuckDBPyConnection, lake: Lake, policy: Policy, auditing: Auditing, *, labels: str
) -> AuditGate:
    """The gate of labels that are not in the lake, once they are and a sample of them is drawn.

    Args:
        connection: sees them; tables are made in it.
        lake: holds the verdicts, the sample that was drawn before, and the overrides.
        policy: the one that the labels will stand by.
        auditing: how the desk draws, and what counts there.
        labels: the name of a relation with the columns of `LABELS`. Its texts are read only where there is a verdict.

    """
    if not bounds(policy.audit, policy.training):
        return _NOT_ASKED
    read = current_verdicts_on(connection, lake, labels=labels)
    columns = ", ".join(dict.fromkeys(["draft_id", "label", "tier", "rule", "category", *policy.audit.strata]))
    connection.execute(_FINAL.format(columns=columns, labels=labels))
    drawn = draw(
        connection, lake, policy, labels="gate_final", read=read, seed=auditing.seed, suspects=auditing.suspects()
    )
    connection.register("gate_drawn", drawn)
    connection.register("gate_sample", _with_digest(connection.sql(_SAMPLE).to_arrow_table(), policy))
    quality = measure_sample(
        connection, policy, read=read, labels="gate_final", sample="gate_sample", simulated=auditing.simulated
    )
    return decide_audit(lake, policy, quality).gate


_NOT_ASKED = AuditGate(asked=False, passed=True, tiers={}, missing={})
# Once, since the labels are made anew whenever they are read.
_FINAL = "CREATE OR REPLACE TEMP TABLE gate_final AS SELECT {columns}, state FROM {labels} WHERE state = 'final'"
_SAMPLE = """
SELECT draft_id, label, tier, rule, category, stratum, stratum_size, suspected
FROM gate_drawn JOIN gate_final USING (draft_id)
"""


def _with_digest(sample: pa.Table, policy: Policy) -> pa.Table:
    return sample.append_column("policy_digest", pa.repeat(pa.scalar(policy.digest), sample.num_rows))
