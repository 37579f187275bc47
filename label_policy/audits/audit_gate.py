"""The audit gate: decides from people's verdicts which tiers may train, against the precision the policy requires.

A tier has one of three outcomes. The lower bound of its precision is high enough: it trains. The bound is too low: the
tier is excluded, or nothing trains, as the policy says. Unread rows could still raise the bound: nothing trains until
they are read. So a tier that lacks reading is not excluded; the gate names the rows to read. A few rows that tomorrow's
draw adds to a finished audit do not undo it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from label_policy.audits.precision import Estimate
from label_policy.policy.fields import Failing, Tier
from label_policy.policy.sections import Audit, Training


class Outcome(StrEnum):
    """The gate's decision about a tier."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    OVERRIDDEN = "overridden"


_REVIEW = "`feedback-kto audit review` shows them"


@dataclass(frozen=True, kw_only=True)
class Override:
    """A person's decision that labels train despite their audit; empty `tiers` means all, read or not."""

    override_id: str
    who: str
    why: str
    expires_at: datetime
    tiers: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "expires_at": self.expires_at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class TierOutcome:
    """The gate's decision about a tier: the required lower bound, the measured precision, the outcome."""

    required: float
    precision: float | None
    low: float | None
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class AuditGate:
    """The decision of the gate.

    Attributes:
        asked: whether the policy requires an audit.
        passed: whether the labels may train; excluded tiers do not train in either case.
        reasons: why not, one sentence each, with the missing rows and the command.
        excluded: tiers that failed and are left out of training.
        notes: why they are excluded, one sentence each.
        tiers: outcome of each tier that trains and has a required precision.
        missing: rows still to be read by class.
        override: the override that opened the gate, and `overridden`, the sentences that it silenced.
        simulated: whether simulated verdicts were counted.

    """

    asked: bool
    passed: bool
    reasons: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tiers: Mapping[str, TierOutcome]
    missing: Mapping[str, int]
    override: Override | None = None
    overridden: tuple[str, ...] = ()
    simulated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, equal for equal decisions."""
        return {**asdict(self), "override": self.override and self.override.as_dict()}


def bounds(audit: Audit, training: Training) -> dict[str, float]:
    """Return the required lower bound of precision by tier that trains; empty if the policy requires no audit."""
    return {str(tier): audit.precision[tier] for tier in Tier if tier in training.tiers and tier in audit.precision}


def decide_gate(
    audit: Audit,
    training: Training,
    *,
    labels: Mapping[str, float],
    read: Mapping[str, int],
    tiers: Mapping[str, Estimate],
    at_best: Mapping[str, Estimate],
    override: Override | None = None,
    simulated: bool = False,
) -> AuditGate:
    """Decide which labels may train.

    Args:
        audit: the policy's requirements; without `precision` there are none.
        training: which tiers train.
        labels: number of labels by class.
        read: number of them that people have read, without rows that were picked and not drawn. Rows that later draws
            leave out still count: a finished audit stays finished while drafts come.
        tiers: estimate by tier.
        at_best: estimate by tier if the labels of all unread rows turned out right.
        override: the override in force.
        simulated: whether simulated verdicts were counted.

    """
    required = bounds(audit, training)
    if not required:
        return AuditGate(asked=False, passed=True, tiers={}, missing={}, simulated=simulated)
    if not labels:
        closed = ["no audit sample of this policy's labels is drawn yet; `feedback-kto audit draw` draws one"]
        return _gate(closed, {}, {}, {}, override, simulated)
    missing = {
        name: unread
        for name, count in labels.items()
        if (unread := min(audit.per_class, round(count)) - read.get(name, 0)) > 0
    }
    outcomes = {
        tier: TierOutcome(
            required=bound, precision=tiers[tier].precision, low=tiers[tier].low,
            outcome=_outcome(bound, tiers[tier], at_best[tier]),
        )
        for tier, bound in required.items()
        if tier in tiers
    }  # fmt: skip
    sentences = {tier: _explain(tier, outcome, tiers[tier], audit.confidence) for tier, outcome in outcomes.items()}
    closed = []
    if missing:
        counts = " and ".join(
            f"{count:,} {name} (of {min(audit.per_class, round(labels[name])):,})" for name, count in missing.items()
        )
        closed = [f"{counts} rows that the policy asks for are still to be read: {_REVIEW}"]
    gate = _gate(closed, sentences, outcomes, missing, override, simulated)
    failed = {
        tier: sentences[tier] for tier, tier_outcome in gate.tiers.items() if tier_outcome.outcome == Outcome.FAILED
    }
    passed_tiers = {str(tier) for tier in training.tiers} & tiers.keys() - failed.keys()
    if audit.failing == Failing.BLOCK:
        return replace(gate, passed=gate.passed and not failed, reasons=(*gate.reasons, *failed.values()))
    no_tier_reasons = (
        ()
        if passed_tiers
        else (*failed.values(), "no tier that trains passed its audit, so nothing is left to train on")
    )
    return replace(
        gate,
        passed=gate.passed and not no_tier_reasons,
        reasons=(*gate.reasons, *no_tier_reasons),
        excluded=tuple(failed),
        notes=tuple(f"{text}; it does not train" for text in failed.values()),
    )


def _gate(
    closed: list[str], sentences: Mapping[str, str], outcomes: Mapping[str, TierOutcome], missing: Mapping[str, int],
    override: Override | None, simulated: bool,
) -> AuditGate:  # fmt: skip
    """Build the gate without the consequences of failed tiers; applies the override to its tiers, or to everything."""
    opened = set(override.tiers or outcomes) if override else set()
    silenced = [
        sentences[tier] for tier, outcome in outcomes.items() if tier in opened and outcome.outcome != Outcome.PASSED
    ]
    if override and not override.tiers:
        closed, silenced = [], [*closed, *silenced]
    tiers = {
        tier: replace(outcome, outcome=Outcome.OVERRIDDEN)
        if tier in opened and outcome.outcome != Outcome.PASSED
        else outcome
        for tier, outcome in outcomes.items()
    }
    # Missing rows of a class are reason enough; undecided tiers are reported once those rows are read.
    reasons = closed or [sentences[tier] for tier, outcome in tiers.items() if outcome.outcome == Outcome.UNDECIDED]
    return AuditGate(
        asked=True,
        passed=not reasons,
        reasons=tuple(reasons),
        tiers=tiers,
        missing=missing,
        override=override if silenced else None,
        overridden=tuple(silenced),
        simulated=simulated,
    )


def _outcome(bound: float, estimate: Estimate, at_best: Estimate) -> Outcome:
    if estimate.low is not None and estimate.low >= bound:
        return Outcome.PASSED
    unread = estimate.sampled > estimate.answered
    return Outcome.UNDECIDED if unread and at_best.low is not None and at_best.low >= bound else Outcome.FAILED


def _explain(tier: str, outcome: TierOutcome, estimate: Estimate, confidence: float) -> str:
    """Explain in a sentence why a tier did not pass; an undecided tier gets the rows to read."""
    unread = estimate.sampled - estimate.answered
    if estimate.low is None:
        sentence = (
            "nobody has read any of its rows" if not estimate.answered else "nobody could tell of any of its rows"
        )
    else:
        rows_read = f"the {estimate.read:,} rows read"
        if estimate.simulated:
            rows_read = f"{estimate.read:,} rows that people read and {estimate.simulated:,} simulated ones"
        sentence = (
            f"{estimate.precision:.1%} of its labels are right, at least {estimate.low:.1%} at {confidence:.0%} "
            f"confidence by {rows_read}"
        )
    sentence = f"tier {tier}: {sentence}, and the policy asks for {outcome.required:.1%}"
    if outcome.outcome == Outcome.UNDECIDED:
        return f"{sentence}; {unread:,} rows drawn are still to be read: {_REVIEW}"
    if estimate.precision is not None and estimate.precision >= outcome.required:
        return f"{sentence}, which so few rows cannot show; raise audit.floor or audit.per_class in the policy"
    return sentence
