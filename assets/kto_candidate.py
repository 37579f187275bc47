"""`kto_candidate`: the reference, trained by KTO on the training set."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.support.common import OWNERS, DeskResource
from assets.support.model_metadata import model_metadata
from training_worker.launcher import POOL, RETRY, run_worker, training_record


@dg.asset(
    group_name="learning", kinds={"pytorch", "huggingface"}, owners=OWNERS["learning"], pool=POOL, retry_policy=RETRY
)
def kto_candidate(
    context: dg.AssetExecutionContext,
    desk: DeskResource,
    training_set: dict[str, Any],
    reference_model: dict[str, Any],
) -> dg.Output[dict[str, Any]]:
    """A model trained by KTO (Ethayarajh et al. 2024) on single labelled rows against the frozen reference.

    The desk's `kto: {objective: …}` may name another objective on single rows.
    """
    active = desk.active()
    outcome = run_worker(
        context,
        active,
        {
            "name": "kto",
            "reference": reference_model["path"],
            "training_set": training_set["path"],
            "config": active.settings.kto,
            "store": str(active.models),
            "cache": str(active.cache),
        },
    )
    path = Path(outcome["path"])
    return dg.Output(outcome, metadata=model_metadata(path), data_version=dg.DataVersion(path.name))


@dg.asset_check(asset=kto_candidate)
def training_went_well(kto_candidate: dict[str, Any]) -> dg.AssetCheckResult:
    """KL did not saturate, no class's gradient dominated, and rewards did not fall together."""
    troubles = training_record(Path(kto_candidate["path"]))["troubles"]
    return dg.AssetCheckResult(
        passed=not troubles,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"from step {each['step']:.0f}, {each['what']}" for each in troubles.values()) or None,
        metadata={name: each["step"] for name, each in troubles.items()},
    )
