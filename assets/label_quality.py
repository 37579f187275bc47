"""`label_quality`: how good the labels are, by people's verdicts."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.support.audit_chart import draw_quality
from assets.support.common import OWNERS, DeskResource, markdown_table, picture
from assets.verdicts import verdicts
from feedback.audits.label_quality import Quality
from label_policy.audits.agreement import LEAST_ALPHA
from label_policy.audits.precision import Estimate

# With fewer rows read twice, alpha depends on chance.
_FEWEST_TWICE = 20


@dg.asset(group_name="labels", kinds={"duckdb"}, owners=OWNERS["policy"], deps=[verdicts])
def label_quality(context: dg.AssetExecutionContext, desk: DeskResource) -> None:
    """The share of labels that is right, by class, tier, rule and category, with intervals, from the verdicts at hand.

    Weighted by stratum, so that it is about all labels and not only the rows read. `training_set` reads the same.
    """
    active = desk.active()
    outcome = active.measure_audit()
    quality, gate = outcome.quality, outcome.gate
    remarks = ["simulated verdicts count here: nobody read those rows"] if quality.simulated else []
    context.add_asset_metadata(
        {
            "rows to read": quality.sampled,
            "rows read by people": quality.read,
            "rows simulated": quality.simulated_rows,
            "gate": {True: "open", False: "closed"}[gate.passed] if gate.asked else "the policy asks for no audit",
            "why": "; ".join([*gate.reasons, *gate.notes, *gate.overridden, *remarks]) or "nothing speaks against it",
            "precision": markdown_table(
                ("of", "", "labels", "read by people", "simulated", "can't tell", "right", "at least", "at most"),
                _lines(quality),
            ),
            "figure": picture(draw_quality(quality, active.policy), "precision by class, tier and rule"),
            "agreement": {
                "rows read by several": quality.agreement.rows,
                "share on which all agree": _share(quality.agreement.same),
                "Krippendorff's alpha": _number(quality.agreement.alpha),
            },
            "confusion": markdown_table(
                ("the policy says", "people say", "verdicts", "labels they stand for"),
                [
                    (cell["label"], cell["people"], cell["verdicts"], round(cell["labels"]))
                    for cell in quality.confusion
                ],
            ),
            # Texts stay in the lake: the run store is no place for what customers wrote.
            "instructive disagreements": markdown_table(
                ("draft", "the policy says", "rule", "labels it stands for"),
                [
                    (row["draft_id"], row["label"], row["rule"], round(row["stands_for"]))
                    for row in quality.disagreements
                ],
            ),
        }
    )


@dg.asset_check(asset=label_quality)
def precision_holds(desk: DeskResource) -> dg.AssetCheckResult:
    """No rule's labels are less precise in the last audit than in those before it."""
    quality = desk.active().measure_audit().quality
    fell = [each for each in quality.drift if each.high < 0]
    return dg.AssetCheckResult(
        passed=not fell,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(
            f"rule {each.rule}: {_share(each.before.precision)} right before, {_share(each.after.precision)} in the "
            f"audit since {quality.last_audit:%Y-%m-%d}, a change of {each.low:+.1%} to {each.high:+.1%}"
            for each in fell
        )
        or None,
        metadata={"rules compared": len(quality.drift)},
    )


@dg.asset_check(asset=label_quality)
def reviewers_agree(desk: DeskResource) -> dg.AssetCheckResult:
    """Krippendorff's alpha of those who read the same rows is at least 2/3; a few rows are too little to measure it."""
    agreement = desk.active().measure_audit().quality.agreement
    measurable = agreement.rows >= _FEWEST_TWICE and agreement.alpha is not None
    passed = not measurable or (agreement.alpha or 0.0) >= LEAST_ALPHA
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=None
        if passed
        else f"alpha is {_number(agreement.alpha)} on {agreement.rows} rows that several read, below "
        f"{LEAST_ALPHA:.2f}; let the readers agree on what counts as good (`feedback-kto audit report` shows what they "
        "contradict)",
        metadata={"rows read by several": agreement.rows, "alpha": _number(agreement.alpha)},
    )


def _lines(quality: Quality) -> list[tuple[Any, ...]]:
    return [
        (
            group,
            name,
            round(each.labels),
            each.read,
            each.simulated,
            each.unsure,
            *map(_share, (each.precision, each.low, each.high)),
        )
        for group, estimates in quality.groups.items()
        for name, each in _sorted(estimates)
    ]


def _sorted(estimates: Mapping[str, Estimate]) -> list[tuple[str, Estimate]]:
    """Return the least precise first; those whose precision is not known come last."""
    return sorted(estimates.items(), key=lambda pair: 2.0 if pair[1].precision is None else pair[1].precision)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
