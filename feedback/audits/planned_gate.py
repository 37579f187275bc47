"""The audit's gate before and after a policy change: for the stored labels, and for the labels that would replace them.

For labels that are not written yet, this draws the sample that a draw right after the change would draw, and counts
the verdicts that would be current on it. It runs the same code in the same order, so the result is the same.
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


def _no_suspects() -> Sequence[tuple[str, str]]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Auditing:
    """A desk's audit settings.

    Attributes:
        seed: which of the possible samples it draws.
        suspects: returns the suspects for `feedback.audits.sample.write_audit_sample`; called only if a sample is
            drawn.
        simulated: whether simulated verdicts count.

    """

    seed: int = 0
    suspects: Callable[[], Sequence[tuple[str, str]]] = _no_suspects
    simulated: bool = False


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The gate before a policy change and after it; `before` is None where the old policy is gone."""

    before: AuditGate | None
    after: AuditGate

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"before": self.before and self.before.as_dict(), "after": self.after.as_dict()}


def decide_stored(lake: Lake, policy: Policy, auditing: Auditing) -> AuditGate:
    """Decide the gate of the labels in the lake from their sample, as the audit's report shows it now."""
    if not bounds(policy.audit, policy.training):
        return _NOT_ASKED
    return measure_audit(lake, policy, simulated=auditing.simulated).gate


def decide_planned(
    connection: duckdb.DuckDBPyConnection, lake: Lake, policy: Policy, auditing: Auditing, *, labels: str
) -> AuditGate:
    """Decide the gate that labels outside the lake would have once they are written and their sample is drawn.

    Args:
        connection: sees the labels; this creates tables in it.
        lake: holds the verdicts, the last drawn sample, and the overrides.
        policy: the policy that gives the labels.
        auditing: the desk's audit settings.
        labels: the name of a relation with the columns of `LABELS`. Its texts are read only for rows with a verdict.

    """
    if not bounds(policy.audit, policy.training):
        return _NOT_ASKED
    current = current_verdicts_on(connection, lake, labels=labels)
    columns = ", ".join(dict.fromkeys(["draft_id", "label", "tier", "rule", "category", *policy.audit.strata]))
    connection.execute(_FINAL.format(columns=columns, labels=labels))
    suspects = auditing.suspects()
    drawn = draw(connection, lake, policy, labels="gate_final", current=current, seed=auditing.seed, suspects=suspects)
    connection.register("gate_drawn", drawn)
    connection.register("gate_sample", _with_digest(connection.sql(_SAMPLE).to_arrow_table(), policy))
    quality = measure_sample(
        connection, policy, current=current, labels="gate_final", sample="gate_sample", simulated=auditing.simulated
    )
    return decide_audit(lake, policy, quality).gate


_NOT_ASKED = AuditGate(asked=False, passed=True, tiers={}, missing={})
# A table and not a view, because every read of the labels computes them again.
_FINAL = "CREATE OR REPLACE TEMP TABLE gate_final AS SELECT {columns}, state FROM {labels} WHERE state = 'final'"
_SAMPLE = """
SELECT draft_id, label, tier, rule, category, stratum, stratum_size, suspected
FROM gate_drawn JOIN gate_final USING (draft_id)
"""


def _with_digest(sample: pa.Table, policy: Policy) -> pa.Table:
    return sample.append_column("policy_digest", pa.repeat(pa.scalar(policy.digest), sample.num_rows))
