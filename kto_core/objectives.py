"""The KTO objective as pure functions on summed log-probabilities.

Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization", arXiv 2402.01306, section 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Objective(NamedTuple):
    """What an objective gives for each row.

    Attributes:
        losses: [B], weighted, with gradient; a step's loss is their mean.
        rewards: [B], β·(log π(y|x) − log π_ref(y|x)), without gradient.
    """

    losses: Tensor
    rewards: Tensor


def estimate_z0(policy_kl_logps: Tensor, reference_kl_logps: Tensor) -> Tensor:
    """Estimate the reference point z0 = KL(π ‖ π_ref) from mismatched pairs (section 4.1).

    Args:
        policy_kl_logps: log π(y'|x) in nats, summed over tokens, [group].
        reference_kl_logps: log π_ref(y'|x), [group].

    Returns:
        max(0, mean of the differences), a scalar without gradient.
    """
    return (policy_kl_logps - reference_kl_logps).detach().mean().clamp(min=0)


def kto_loss(
    policy_logps: Tensor,
    reference_logps: Tensor,
    desirable: Tensor,
    *,
    z0: Tensor | float,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
    weights: Tensor | None = None,
) -> Objective:
    """KTO loss and implied reward of each row: the paper's λ_y − v(x, y) (section 4.1), times the row's weight.

    With r = log π(y|x) − log π_ref(y|x), a desirable row costs w·λ_D·(1 − σ(β(r − z0))), an undesirable one
    w·λ_U·(1 − σ(β(z0 − r))).

    Args:
        policy_logps: log π(y|x) in nats, summed over completion tokens, [B].
        reference_logps: log π_ref(y|x), [B].
        desirable: bool [B].
        z0: the reference point in nats, a scalar or [B]; see `estimate_z0`.
        beta: 1 / the log-ratio at which a row counts as learned.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.
        weights: w of each row, [B]; None is 1 for all, and 0 is 0.

    Returns:
        Losses and rewards, [B] each.
    """
    ratios = policy_logps - reference_logps
    signs = torch.where(desirable, ratios.new_tensor(1.0), ratios.new_tensor(-1.0))
    classes = torch.where(desirable, ratios.new_tensor(desirable_weight), ratios.new_tensor(undesirable_weight))
    losses = classes * torch.sigmoid(-beta * signs * (ratios - z0))  # 1 − σ(u) = σ(−u), without cancellation
    if weights is not None:
        losses = losses * weights.to(ratios.dtype)
    return Objective(losses=losses, rewards=beta * ratios.detach())
