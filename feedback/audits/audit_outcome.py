"""The audit's outcome: label quality from the current verdicts, and the gate that follows from it.

The training set, the Dagster assets, the commands and backfill plans all decide the gate here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from feedback.audits.label_quality import Quality, measure, rounded
from feedback.audits.overrides import override_now
from feedback.lake.delta import Lake
from label_policy import Policy
from label_policy.audits.audit_gate import AuditGate, decide_gate


@dataclass(frozen=True, kw_only=True)
class AuditOutcome:
    """The label quality that an audit measured, and whether the labels may train."""

    quality: Quality
    gate: AuditGate


def measure_audit(lake: Lake, policy: Policy, *, simulated: bool = False, now: datetime | None = None) -> AuditOutcome:
    """Measure the labels of `policy` in the lake and decide its audit gate.

    Args:
        lake: holds the sample, the verdicts and the overrides.
        policy: whose labels were sampled.
        simulated: whether simulated verdicts count.
        now: aware datetime at which an override must be valid; by default the present.

    """
    return decide_audit(lake, policy, measure(lake, policy, simulated=simulated), now=now)


def decide_audit(lake: Lake, policy: Policy, quality: Quality, *, now: datetime | None = None) -> AuditOutcome:
    """Decide the gate from `quality`, with the override in the lake that is valid at `now`."""
    gate = decide_gate(
        policy.audit,
        policy.training,
        labels={name: estimate.labels for name, estimate in quality.groups["label"].items()},
        read=quality.read_of,
        tiers=quality.groups["tier"],
        at_best=quality.at_best,
        override=override_now(lake, policy, now=now),
        simulated=quality.simulated,
    )
    return AuditOutcome(quality=quality, gate=gate)


def manifest_section(outcome: AuditOutcome, policy: Policy) -> Mapping[str, Any]:
    """Return the section `audit` of a training set's manifest; precision by class covers only the tiers that train."""
    quality, gate = outcome.quality, outcome.gate
    tiers = {str(tier) for tier in policy.training.tiers} - {*gate.excluded}
    used = quality.rule_precision()
    rules = quality.groups["rule"]
    section = {
        "asked": gate.asked,
        "gate": gate.as_dict(),
        "confidence": quality.confidence,
        "precision": {name: asdict(estimate) for name, estimate in quality.by_class(tiers).items()},
        "tiers": {name: asdict(estimate) for name, estimate in quality.groups["tier"].items()},
        "rules": {name: {**asdict(estimate), "used": used.get(name)} for name, estimate in rules.items()},
        "agreement": asdict(quality.agreement),
        "simulated": quality.simulated,
    }
    return dict(rounded(section))
