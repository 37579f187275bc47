"""`release`: an immutable bundle that says which rows made it, and the champion it may become."""

from pathlib import Path
from typing import Any

import dagster as dg

import kto_core
from assets.support.common import OWNERS, DeskResource
from feedback.exceptions import FeedbackError


@dg.asset(group_name="learning", kinds={"huggingface"}, owners=OWNERS["learning"])
def release(
    context: dg.AssetExecutionContext,
    desk: DeskResource,
    training_set: dict[str, Any],
    kto_candidate: dict[str, Any],
    evaluation: dict[str, Any],
) -> dg.Output[dict[str, Any]]:
    """Weights, tokenizer, manifest and model card in one folder; the champion where the gate passed.

    The manifest leads from the weights back to the training set, its rows, and the policy that labelled them.
    """
    active = desk.active()
    if evaluation["candidate"] != kto_candidate["path"]:
        raise FeedbackError(
            "the evaluation is of another candidate than the current kto_candidate; materialize evaluation first"
        )
    path = kto_core.write_release(
        candidate=Path(kto_candidate["path"]),
        training_set=Path(training_set["path"]),
        evaluation={**evaluation["heldout"], "truth": evaluation["truth"]},
        gate=evaluation["gate"],
        releases=active.releases,
        extra={"desk": active.name, "dagster_run": context.run.run_id},
    )
    card = (path / "README.md").read_text(encoding="utf-8")
    passed = evaluation["gate"]["passed"]
    if passed:
        kto_core.promote(active.releases, path.name)
    return dg.Output(
        {"path": str(path), "id": path.name, "promoted": passed},
        metadata={
            "path": dg.MetadataValue.path(path),
            "champion": "yes" if passed else "no: " + "; ".join(evaluation["gate"]["reasons"]),
            # The card's picture lies beside it in the bundle, where the UI cannot follow.
            "model card": dg.MetadataValue.md(card.split("---\n", 2)[-1].replace("![training curve](curve.png)\n", "")),
        },
        data_version=dg.DataVersion(path.name),
    )
