"""`reference_model`: the frozen model that KTO starts from and is measured against."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.support.common import OWNERS, DeskResource
from assets.support.model_metadata import model_metadata
from training_worker.launcher import POOL, RETRY, run_worker


@dg.asset(
    group_name="learning", kinds={"pytorch", "huggingface"}, owners=OWNERS["learning"], pool=POOL, retry_policy=RETRY
)
def reference_model(
    context: dg.AssetExecutionContext, desk: DeskResource, training_set: dict[str, Any]
) -> dg.Output[dict[str, Any]]:
    """The desk's model after supervised fine-tuning (SFT), or as it is where the desk says `steps: 0`.

    Named by its content: the same model, rows and settings give the same folder, which is not trained again.
    """
    active = desk.active()
    reference = active.settings.reference
    outcome = run_worker(
        context,
        active,
        {
            "name": "sft",
            "model": reference.model,
            "rows": training_set["path"] if reference.rows == "training_set" else reference.rows,
            "config": reference.sft,
            "store": str(active.models),
        },
    )
    path = Path(outcome["path"])
    return dg.Output(outcome, metadata=model_metadata(path), data_version=dg.DataVersion(path.name))
