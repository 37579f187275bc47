from typing import Any

import pytest

from kto_core.evaluation.release_gate import FEWEST_PER_CLASS, decide_promotion

KPIS = {"first_contact_resolution": {"share": 0.7}, "invented_policy": {"share": 0.2}}


def evaluation(**changed: Any) -> dict[str, Any]:
    heldout = {
        "desirable": 100,
        "undesirable": 100,
        "auc_within_before": 0.6,
        "auc_within_after": 0.7,
        "auc_within_gain": [0.05, 0.15],
        "reward_margin": 1.0,
        # Pooled, the candidate looks worse: the gate does not read that.
        "auc_before": 0.9,
        "auc_after": 0.8,
    }
    return {"heldout": heldout | changed, "truth": None}


def test_a_better_candidate_passes() -> None:
    assert decide_promotion(evaluation()) == {"passed": True, "reasons": []}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"auc_within_after": 0.6}, "AUC within categories went from 0.6000 to 0.6000"),
        ({"auc_within_gain": [-0.01, 0.2]}, "it would change by -0.0100 to 0.2000 (95 %)"),
        ({"auc_within_gain": [0.0, 0.2]}, "it would change by 0.0000 to 0.2000 (95 %)"),
        ({"reward_margin": 0.0}, "reward margin is 0.0000"),
        ({"undesirable": FEWEST_PER_CLASS - 1}, "29 held-out undesirable rows are too few"),
        ({"auc_within_before": None, "auc_within_after": None}, "no category of held-out rows has both classes"),
        ({"auc_within_before": None}, "no category of held-out rows has both classes"),
        ({"auc_within_after": None}, "no category of held-out rows has both classes"),
        ({"reward_margin": None}, "no category of held-out rows has both classes"),
    ],
)
def test_a_failed_measure_is_reported(changed: dict[str, Any], reason: str) -> None:
    verdict = decide_promotion(evaluation(**changed))
    assert not verdict["passed"]
    assert len(verdict["reasons"]) == 1
    assert reason in verdict["reasons"][0]


def test_the_fewest_rows_of_each_class_are_enough() -> None:
    assert decide_promotion(evaluation(desirable=30, undesirable=30))["passed"]


@pytest.mark.parametrize(
    ("name", "share", "reasons"),
    [
        ("first_contact_resolution", 0.7, []),
        ("first_contact_resolution", 0.69, ["first contact resolution went from 70.0% to 69.0%"]),
        ("invented_policy", 0.1, []),
        ("invented_policy", 0.2, []),
        ("invented_policy", 0.21, ["invented policy went from 20.0% to 21.0%"]),
    ],
)
def test_where_the_truth_is_known_it_counts(name: str, share: float, reasons: list[str]) -> None:
    truth = {"baseline": {"kpis": KPIS}, "model": {"kpis": KPIS | {name: {"share": share}}}}
    assert decide_promotion({**evaluation(), "truth": truth}) == {"passed": not reasons, "reasons": reasons}
