"""`training_set`: immutable Parquet, named by its content."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.label_quality import label_quality
from assets.labels import labels
from assets.support.common import OWNERS, DeskResource, markdown_table
from feedback.lake.damage import name_set_damage
from feedback.training_set.build import SPLITS, build_training_set, read_training_set, tickets_on_both_sides
from feedback.training_set.provisional import say_provisional
from label_policy import CLASSES


@dg.asset(group_name="learning", kinds={"parquet", "duckdb"}, owners=OWNERS["data"], deps=[labels, label_quality])
def training_set(desk: DeskResource) -> dg.Output[dict[str, Any]]:
    """The final labels that train, as desirable and undesirable Parquet that any tool reads without us.

    Redacted, deduplicated, contradictions resolved by tier or left out, and split by ticket. The version is a hash of
    the rows and of their labels' audit: the same rows and audit give the same version anywhere. Tiers that failed their
    audit are left out; a set that may not train at all is written too, and says so.
    """
    active = desk.active()
    settings = active.settings
    built = build_training_set(
        active.lake, active.policy, active.training_sets, heldout=settings.heldout, simulated=settings.audit_simulated
    )
    # A set that exists already is not written again, and its files may have been lost since.
    if damage := name_set_damage(built.path):
        raise damage
    counts = built.manifest["counts"]
    return dg.Output(
        {"path": str(built.path), "version": built.version},
        metadata={
            "version": built.version,
            "path": dg.MetadataValue.path(built.path),
            "dagster/row_count": sum(counts[split].get(name, 0) for split in SPLITS for name in CLASSES),
            "rows": markdown_table(
                ("split", *CLASSES),
                [(split, *(counts[split].get(name, 0) for name in CLASSES)) for split in SPLITS],
            ),
            "rows by tier": markdown_table(
                ("tier", *CLASSES),
                [(tier, *(by.get(name, 0) for name in CLASSES)) for tier, by in counts["tier"].items()],
            ),
            "preference pairs": built.manifest["preferences"],
            "left out": built.manifest["left_out"],
            "lambda bounds": built.manifest["lambda_bounds"],
            "audit": dg.MetadataValue.json(built.manifest["audit"]),
        },
        data_version=dg.DataVersion(built.version),
    )


@dg.asset_check(asset=training_set, blocking=True)
def audit_passed(training_set: dict[str, Any]) -> dg.AssetCheckResult:
    """People have read as many labels as the policy asks for, and enough are right; `kto_core` checks it again."""
    gate = read_training_set(Path(training_set["path"])).manifest["audit"]["gate"]
    override = gate["override"]
    opened = [f"opened by {override['who']}: {override['why']}", *gate["overridden"]] if override else []
    return dg.AssetCheckResult(
        passed=gate["passed"],
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join([*gate["reasons"], *gate["notes"], *opened]) or None,
        metadata={
            "asked": gate["asked"],
            "simulated": gate["simulated"],
            "tiers": markdown_table(
                ("tier", "right", "at least", "required", "outcome"),
                [
                    (tier, *(outcome[name] for name in ("precision", "low", "required", "outcome")))
                    for tier, outcome in gate["tiers"].items()
                ],
            ),
        },
    )


@dg.asset_check(asset=training_set, blocking=True)
def both_classes(desk: DeskResource, training_set: dict[str, Any]) -> dg.AssetCheckResult:
    """There are desirable and undesirable rows to train on, and held-out rows of both to measure on."""
    counts = read_training_set(Path(training_set["path"])).manifest["counts"]
    missing = [
        f"{name} rows to {'train on' if split == 'train' else 'judge by'}"
        for split in SPLITS
        for name in CLASSES
        if not counts[split].get(name)
    ]
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.ERROR,
        description=_say_missing(missing, counts, say_provisional(desk.active().lake)) if missing else None,
    )


def _say_missing(missing: Sequence[str], counts: Mapping[str, Mapping[str, int]], provisional: str | None) -> str:
    """Return which rows are missing, which there are, and what to do, by what is still provisional."""
    counted = ", ".join(
        f"{' and '.join(f'{counts[split].get(name, 0):,} {name}' for name in CLASSES)} "
        + ("train" if split == "train" else "are held out")
        for split in SPLITS
    )
    waiting = f"; {provisional}: wait for them, or" if provisional else ";"
    return (
        f"no {' and no '.join(missing)}: of the final labels {counted}{waiting} bring more logs, raise heldout in "
        "desk.yaml where only held-out rows are missing, or change the policy"
    )


@dg.asset_check(asset=training_set, blocking=True)
def split_by_ticket(training_set: dict[str, Any]) -> dg.AssetCheckResult:
    """No ticket is both trained on and held out."""
    tickets = tickets_on_both_sides(Path(training_set["path"]))
    return dg.AssetCheckResult(
        passed=not tickets, severity=dg.AssetCheckSeverity.ERROR, metadata={"tickets": tickets[:20]}
    )
