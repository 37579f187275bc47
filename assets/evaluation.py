"""`evaluation`: the candidate against the reference, on tickets that training never saw."""

import json
from typing import Any

import dagster as dg

from assets.support.common import OWNERS, DeskResource, markdown_table
from kto_core.evaluation.release_gate import decide_promotion
from training_worker.launcher import POOL, RETRY, run_worker


@dg.asset(
    group_name="learning", kinds={"pytorch", "scikitlearn"}, owners=OWNERS["learning"], pool=POOL, retry_policy=RETRY
)
def evaluation(
    context: dg.AssetExecutionContext,
    desk: DeskResource,
    training_set: dict[str, Any],
    reference_model: dict[str, Any],
    kto_candidate: dict[str, Any],
) -> dg.Output[dict[str, Any]]:
    """Measure how each model tells desirable from undesirable drafts on held-out tickets, beside the base-rate prior.

    A simulated desk also answers fresh tickets whose right reply is known.
    """
    active = desk.active()
    outcome = run_worker(
        context,
        active,
        {
            "name": "evaluate",
            "reference": reference_model["path"],
            "candidate": kto_candidate["path"],
            "training_set": training_set["path"],
            "config": active.settings.evaluation,
            "cache": str(active.cache),
            "scores": str(active.heldout_scores),
            "truth": active.settings.truth,
        },
    )
    heldout = outcome["heldout"]
    measures = sorted(name.removesuffix("_after") for name in heldout if name.endswith("_after"))
    metadata: dict[str, Any] = {
        "held-out rows": markdown_table(
            ("measure", "prior", "before", "after"),
            [
                (name, *(_figure(heldout.get(f"{name}_{when}")) for when in ("prior", "before", "after")))
                for name in measures
            ],
        ),
        "reward margin": heldout["reward_margin"],
        "all figures": dg.MetadataValue.json(json.loads(json.dumps(outcome))),
    }
    return dg.Output(
        {**outcome, "gate": decide_promotion(outcome), "candidate": kto_candidate["path"]}, metadata=metadata
    )


@dg.asset_check(asset=evaluation)
def gate(evaluation: dict[str, Any]) -> dg.AssetCheckResult:
    """The candidate may become champion: see `kto_core.evaluation.release_gate.decide_promotion`."""
    verdict = evaluation["gate"]
    return dg.AssetCheckResult(
        passed=verdict["passed"],
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(verdict["reasons"]) or None,
        metadata={"reasons": verdict["reasons"]},
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
