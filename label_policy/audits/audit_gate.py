"""Whether labels may train, by what people found of them: a tier at a time, against what the policy asks for.

Three things can be said of a tier: the lower bound of its precision is high enough and it trains; it is too low and the
tier is left out, or nothing trains, as the policy says; or rows are still unread that could lift it, and then nothing
trains until they are read. So whoever is about to be excluded for want of reading is told to read instead, and a few
rows that tomorrow's draw adds to an audit that was done do not undo it.
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
    """What the gate makes of a tier."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    OVERRIDDEN = "overridden"


_REVIEW = "`feedback-kto audit review` shows them"


@dataclass(frozen=True, kw_only=True)
class Override:
    """Somebody's word that labels train although their audit does not let them; no tiers: all of them, read or not."""

    override_id: str
    who: str
    why: str
    expires_at: datetime
    tiers: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "expires_at": self.expires_at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class TierOutcome:
    """What the gate makes of a tier: the least lower bound that the policy asks for, and what was found."""

    required: float
    precision: float | None
    low: float | None
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class AuditGate:
    """The decision.

    Attributes:
        asked: whether the policy asks for an audit at all.
        passed: whether the labels may train; the excluded tiers do not either way.
        reasons: why not, a sentence each, with what is missing and the command.
        excluded: tiers that failed and are left out of training.
        notes: why these are, a sentence each.
        tiers: what was found of each tier that trains and that the policy asks about.
        missing: rows still to be read by class.
        override: what opened it by hand, and `overridden`, the sentences that it silenced.
        simulated: whether verdicts that nobody gave went into it.

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
        """JSON values, the same for the same decision."""
        return {**asdict(self), "override": self.override and self.override.as_dict()}


def bounds(audit: Audit, training: Training) -> dict[str, float]:
    """By tier that trains, the least lower bound of precision that is asked for; none: no audit is asked for."""
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
    """Decide.

    Args:
        audit: what the policy asks for; without `precision` it asks for nothing.
        training: which tiers train.
        labels: how many of each class there are.
        read: how many of them people have read, those aside that were picked and not drawn. Rows that later draws left
            out again count as well: so an audit that was done stays done while drafts come.
        tiers: what was found by tier.
        at_best: what would be found by tier if the labels of all rows still unread turned out right.
        override: what somebody has opened by hand and that still holds.
        simulated: whether verdicts that nobody gave went into what was found.

    """
    asked = bounds(audit, training)
    if not asked:
        return AuditGate(asked=False, passed=True, tiers={}, missing={}, simulated=simulated)
    if not labels:
        closed = ["no audit sample of this policy's labels is drawn yet; `feedback-kto audit draw` draws one"]
        return _gate(closed, {}, {}, {}, override, simulated)
    missing = {
        name: short
        for name, count in labels.items()
        if (short := min(audit.per_class, round(count)) - read.get(name, 0)) > 0
    }
    outcomes = {
        tier: TierOutcome(
            required=bound, precision=tiers[tier].precision, low=tiers[tier].low,
            outcome=_outcome(bound, tiers[tier], at_best[tier]),
        )
        for tier, bound in asked.items()
        if tier in tiers
    }  # fmt: skip
    said = {tier: _say(tier, outcome, tiers[tier], audit.confidence) for tier, outcome in outcomes.items()}
    closed = []
    if missing:
        named = " and ".join(
            f"{count:,} {name} (of {min(audit.per_class, round(labels[name])):,})" for name, count in missing.items()
        )
        closed = [f"{named} rows that the policy asks for are still to be read: {_REVIEW}"]
    gate = _gate(closed, said, outcomes, missing, override, simulated)
    failed = {tier: said[tier] for tier, found in gate.tiers.items() if found.outcome == Outcome.FAILED}
    left = {str(tier) for tier in training.tiers} & tiers.keys() - failed.keys()
    if audit.failing == Failing.BLOCK:
        return replace(gate, passed=gate.passed and not failed, reasons=(*gate.reasons, *failed.values()))
    nothing = () if left else (*failed.values(), "no tier that trains passed its audit, so nothing is left to train on")
    return replace(
        gate,
        passed=gate.passed and not nothing,
        reasons=(*gate.reasons, *nothing),
        excluded=tuple(failed),
        notes=tuple(f"{text}; it does not train" for text in failed.values()),
    )


def _gate(
    closed: list[str], said: Mapping[str, str], outcomes: Mapping[str, TierOutcome], missing: Mapping[str, int],
    override: Override | None, simulated: bool,
) -> AuditGate:  # fmt: skip
    """The gate before failed tiers are dealt with, once an override has had its say: on its tiers, or on everything."""
    opened = set(override.tiers or outcomes) if override else set()
    silenced = [said[tier] for tier, found in outcomes.items() if tier in opened and found.outcome != Outcome.PASSED]
    if override and not override.tiers:
        closed, silenced = [], [*closed, *silenced]
    tiers = {
        tier: replace(found, outcome=Outcome.OVERRIDDEN)
        if tier in opened and found.outcome != Outcome.PASSED
        else found
        for tier, found in outcomes.items()
    }
    # Rows that are missing of a class say enough; which tiers they would decide comes once they are there.
    reasons = closed or [said[tier] for tier, found in tiers.items() if found.outcome == Outcome.UNDECIDED]
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


def _outcome(bound: float, found: Estimate, at_best: Estimate) -> Outcome:
    if found.low is not None and found.low >= bound:
        return Outcome.PASSED
    unread = found.sampled > found.answered
    return Outcome.UNDECIDED if unread and at_best.low is not None and at_best.low >= bound else Outcome.FAILED


def _say(tier: str, outcome: TierOutcome, found: Estimate, confidence: float) -> str:
    """Why a tier did not pass, in a sentence; who may still pass is told what to read."""
    unread = found.sampled - found.answered
    if found.low is None:
        what = "nobody has read any of its rows" if not found.answered else "nobody could tell of any of its rows"
    else:
        by = f"the {found.read:,} rows read"
        if found.simulated:
            by = f"{found.read:,} rows that people read and {found.simulated:,} simulated ones"
        what = (
            f"{found.precision:.1%} of its labels are right, at least {found.low:.1%} at {confidence:.0%} confidence "
            f"by {by}"
        )
    what = f"tier {tier}: {what}, and the policy asks for {outcome.required:.1%}"
    if outcome.outcome == Outcome.UNDECIDED:
        return f"{what}; {unread:,} rows drawn are still to be read: {_REVIEW}"
    if found.precision is not None and found.precision >= outcome.required:
        return f"{what}, which so few rows cannot show; raise audit.floor or audit.per_class in the policy"
    return what
