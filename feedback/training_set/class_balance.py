"""The bounds of KTO's class weights for the class balance of a training set."""

from __future__ import annotations


def lambda_bounds(desirable: int = 0, undesirable: int = 0) -> dict[str, list[float] | None]:
    """Return the bounds of λ_D that keep λ_D·n_D / (λ_U·n_U) in [1, 3/2] at λ_U = 1, and of λ_U at λ_D = 1.

    `desirable` (n_D) and `undesirable` (n_U) are numbers of training rows. See Ethayarajh et al. 2024
    (arXiv 2402.01306), on imbalanced data. Null where a class is empty.
    """
    if not desirable or not undesirable:
        return {"desirable_weight": None, "undesirable_weight": None}
    ratio = undesirable / desirable
    return {
        "desirable_weight": [round(ratio, 4), round(1.5 * ratio, 4)],
        "undesirable_weight": [round(1 / (1.5 * ratio), 4), round(1 / ratio, 4)],
    }
