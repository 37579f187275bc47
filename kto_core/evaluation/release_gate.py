"""The release gate: decides whether an evaluated candidate may become champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kto_core.data.datasets import CLASSES

# With fewer held-out rows of a class, chance alone moves the figures by more than training does.
FEWEST_PER_CLASS = 30


def decide_promotion(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Decide whether the candidate may become champion, with a reason for each measure that fails.

    It must rank held-out drafts better than the reference: within categories, so that knowing which categories are
    liked does not count, and by more than other tickets would change it, at 95 %. Its reward of desirable drafts must
    exceed that of undesirable ones. Where the truth is known, it must resolve no fewer tickets at first contact and
    invent policy no more often.

    Returns:
        `{"passed": bool, "reasons": [str, …]}`; reasons are empty when it passed.

    """
    heldout, truth = evaluation["heldout"], evaluation["truth"]
    reasons = [
        f"{heldout[name]} held-out {name} rows are too few to decide; at least {FEWEST_PER_CLASS} are needed"
        for name in CLASSES
        if heldout[name] < FEWEST_PER_CLASS
    ]
    before, after, margin = heldout["auc_within_before"], heldout["auc_within_after"], heldout["reward_margin"]
    if before is None or after is None or margin is None:
        reasons.append("no category of held-out rows has both classes, so nothing can be compared")
    else:
        if after <= before:
            reasons.append(f"held-out AUC within categories went from {before:.4f} to {after:.4f}")
        elif heldout["auc_within_gain"][0] <= 0:
            low, high = heldout["auc_within_gain"]
            reasons.append(
                f"held-out AUC within categories rose from {before:.4f} to {after:.4f}, which may be chance: with "
                f"other tickets it would change by {low:.4f} to {high:.4f} (95 %)"
            )
        if margin <= 0:
            reasons.append(f"held-out reward margin is {margin:.4f}, not above 0")
    if truth is not None:
        for name, better in (("first_contact_resolution", 1), ("invented_policy", -1)):
            was, now = truth["baseline"]["kpis"][name]["share"], truth["model"]["kpis"][name]["share"]
            if better * (now - was) < 0:
                reasons.append(f"{name.replace('_', ' ')} went from {was:.1%} to {now:.1%}")
    return {"passed": not reasons, "reasons": reasons}
