"""Objectives as pure functions on summed log-probabilities: two on single rows, four on pairs.

| function        | on    | source                                                                          |
| --------------- | ----- | ------------------------------------------------------------------------------- |
| `kto_loss`      | rows  | KTO, Ethayarajh et al. 2024, arXiv 2402.01306, equation 8                       |
| `apo_zero_loss` | rows  | APO-zero, D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 7, term by term |
| `dpo_loss`      | pairs | DPO, Rafailov et al. 2023, arXiv 2305.18290, equation 7                         |
| `ipo_loss`      | pairs | IPO, Azar et al. 2023, arXiv 2310.12036, equation 17                            |
| `orpo_loss`     | pairs | ORPO, Hong et al. 2024, arXiv 2403.07691, equations 3 to 7                      |
| `simpo_loss`    | pairs | SimPO, Meng et al. 2024, arXiv 2405.14734, equation 6                           |

Common to all of them:

- A log-probability is of a whole completion: nats, summed over its tokens in float32 or float64. B rows, or P pairs.
- A loss depends on its row or pair alone, so a batch may hold one class; a step's loss is the mean.
- `weights` multiply losses, [B] or [P]; None is 1 for all, and 0 is exactly 0, in the loss and in its gradient.
- Gradients reach the policy only, and are finite. Rewards, which the loss compares, carry none.
- `TrainingError` names the argument and its row where shapes differ, a batch is empty, log-probabilities are in half
  precision, or a number is NaN, infinite or out of its range. Looking for such numbers waits once for the device.
"""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from kto_core.base.exceptions import TrainingError
from kto_core.base.objective_registry import Objective


class RowLosses(NamedTuple):
    """Result of an objective on single rows.

    Attributes:
        losses: [B], weighted, with gradient; a step's loss is their mean.
        rewards: [B], β·(log π(y|x) − log π_ref(y|x)), without gradient.
    """

    losses: Tensor
    rewards: Tensor


class PairLosses(NamedTuple):
    """Result of an objective on pairs; a pair counts as learned where the chosen reward is the greater.

    Attributes:
        losses: [P], weighted, with gradient; a step's loss is their mean.
        chosen_rewards: [P], of the preferred completions, without gradient.
        rejected_rewards: [P], of the others.
    """

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


P = ParamSpec("P")
R = TypeVar("R")


def _checked(objective: Callable[P, R]) -> Callable[P, R]:
    """Wrap `objective` so that its arguments are checked by their names."""
    signature = inspect.signature(objective)

    @wraps(objective)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        _check(**signature.bind(*args, **kwargs).arguments)
        return objective(*args, **kwargs)

    return checked


@_checked
def estimate_z0(policy_kl_logps: Tensor, reference_kl_logps: Tensor) -> Tensor:
    """Estimate KTO's reference point z0 = KL(π ‖ π_ref) from mismatched pairs (arXiv 2402.01306, section 4.1).

    As in the paper and its code, the estimate is biased, of this group only, without gradient, and clamped, because a
    KL divergence is never below 0. The value before the clamp shows how far the policy has drifted.

    Args:
        policy_kl_logps: log π(y'|x), [group], where y' answers another prompt than x.
        reference_kl_logps: log π_ref(y'|x), [group].

    Returns:
        max(0, mean of the differences) in nats, a scalar without gradient.

    Raises:
        TrainingError: for input that the module docstring rules out.
    """
    return (policy_kl_logps - reference_kl_logps).detach().mean().clamp(min=0)


@_checked
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
) -> RowLosses:
    """KTO: the paper's λ_y − v(x, y) (arXiv 2402.01306, equation 8), times the row's weight.

    With r = log π(y|x) − log π_ref(y|x), a desirable row costs w·λ_D·(1 − σ(β(r − z0))), an undesirable one
    w·λ_U·(1 − σ(β(z0 − r))): between 0 and w·λ. 1 − σ(u) is computed as exp(log σ(−u)): nothing cancels, and a row
    far on either side keeps its small gradient, in float32 as well.

    Args:
        policy_logps: log π(y|x), [B].
        reference_logps: log π_ref(y|x), [B].
        desirable: bool [B].
        z0: the reference point in nats, 0 or more, a scalar or [B]; see `estimate_z0`.
        beta: above 0; 1 / the log-ratio at which a row counts as learned.
        desirable_weight: λ_D, 0 or more.
        undesirable_weight: λ_U, 0 or more.
        weights: w of each row, 0 or more, [B].

    Returns:
        Losses and rewards, [B] each.

    Raises:
        TrainingError: for input that the module docstring rules out.
    """
    ratios = policy_logps - reference_logps.detach()
    gaps = ratios - (z0.detach() if isinstance(z0, Tensor) else z0)
    signs = torch.where(desirable, ratios.new_tensor(1.0), ratios.new_tensor(-1.0))
    classes = torch.where(desirable, ratios.new_tensor(desirable_weight), ratios.new_tensor(undesirable_weight))
    losses = classes * logsigmoid(-beta * signs * gaps).exp()
    return RowLosses(losses=_weighted(losses, weights), rewards=beta * ratios.detach())


def apo_zero_loss(
    policy_logps: Tensor,
    reference_logps: Tensor,
    desirable: Tensor,
    *,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
    weights: Tensor | None = None,
) -> RowLosses:
    """APO-zero on single rows (arXiv 2408.06266, equation 7): KTO with its reference point fixed at 0.

    The paper's loss of a pair, −σ(βr_chosen) + σ(βr_rejected), is a sum of one term for each completion, and each
    stands alone here: a desirable row costs w·λ_D·(1 − σ(βr)), an undesirable one w·λ_U·σ(βr). The 1 is a constant
    that keeps losses at 0 or above; the paper's λ are 1. No mismatched completions are needed.

    Arguments, results and errors are those of `kto_loss`, without z0.
    """
    return kto_loss(
        policy_logps,
        reference_logps,
        desirable,
        z0=0.0,
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        weights=weights,
    )


@_checked
def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    weights: Tensor | None = None,
) -> PairLosses:
    """DPO: −log σ(β(r_chosen − r_rejected)) with r = log π(y|x) − log π_ref(y|x) (arXiv 2305.18290, equation 7).

    Args:
        policy_chosen_logps: log π of the preferred completions, [P].
        policy_rejected_logps: log π of the others, [P].
        reference_chosen_logps: log π_ref of the preferred completions, [P].
        reference_rejected_logps: log π_ref of the others, [P].
        beta: above 0; how strongly π is tied to π_ref.
        weights: of each pair, 0 or more, [P].

    Returns:
        Losses and the rewards βr, [P] each.

    Raises:
        TrainingError: for input that the module docstring rules out.
    """
    chosen = policy_chosen_logps - reference_chosen_logps.detach()
    rejected = policy_rejected_logps - reference_rejected_logps.detach()
    losses = -logsigmoid(beta * (chosen - rejected))
    return PairLosses(_weighted(losses, weights), beta * chosen.detach(), beta * rejected.detach())


@_checked
def ipo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    weights: Tensor | None = None,
) -> PairLosses:
    """IPO: (r_chosen − r_rejected − 1/(2β))² with r = log π(y|x) − log π_ref(y|x) (arXiv 2310.12036, equation 17).

    This is the form of the paper: π(y|x) is the probability of the whole completion, so r is a sum over tokens and the
    margin 1/(2β) is in nats of the whole. TRL divides r by the completion's length, on advice of the authors that is
    not in the paper; for that form, pass log-probabilities divided by their lengths.

    Arguments and errors are those of `dpo_loss`; beta is the paper's τ. Losses are in nats², rewards are βr.
    """
    chosen = policy_chosen_logps - reference_chosen_logps.detach()
    rejected = policy_rejected_logps - reference_rejected_logps.detach()
    losses = (chosen - rejected - 1 / (2 * beta)).square()
    return PairLosses(_weighted(losses, weights), beta * chosen.detach(), beta * rejected.detach())


@_checked
def orpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    *,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    odds_weight: float,
    weights: Tensor | None = None,
) -> PairLosses:
    """ORPO: L_SFT + λ·L_OR, without a reference (arXiv 2403.07691, equations 3 to 7).

    With p = exp(log π(y|x) / |y|), a token's mean probability, and odds = p / (1 − p): L_SFT = −log p_chosen, and
    L_OR = −log σ(log odds_chosen − log odds_rejected). Both read completions only; TRL, like the authors' code,
    takes L_SFT over the prompt's tokens too. A p within rounding of 1 becomes 1 − eps, with the gradient there.

    Args:
        policy_chosen_logps: log π of the preferred completions, [P].
        policy_rejected_logps: log π of the others, [P].
        chosen_lengths: |y| of the preferred completions in tokens, 1 or more, [P].
        rejected_lengths: |y| of the others, [P].
        odds_weight: λ, 0 or more.
        weights: of each pair, 0 or more, [P].

    Returns:
        Losses and the rewards log odds, [P] each.

    Raises:
        TrainingError: for input that the module docstring rules out.
    """
    chosen, rejected = policy_chosen_logps / chosen_lengths, policy_rejected_logps / rejected_lengths
    chosen_odds, rejected_odds = _log_odds(chosen), _log_odds(rejected)
    losses = -chosen - odds_weight * logsigmoid(chosen_odds - rejected_odds)
    return PairLosses(_weighted(losses, weights), chosen_odds.detach(), rejected_odds.detach())


@_checked
def simpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    *,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    beta: float,
    gamma: float,
    weights: Tensor | None = None,
) -> PairLosses:
    """SimPO: −log σ(R_chosen − R_rejected − γ) with R = β·log π(y|x) / |y| (arXiv 2405.14734, equation 6).

    Arguments and errors are those of `orpo_loss`, except two. beta, above 0, is the scale of the rewards R. gamma, γ,
    0 or more, is the target margin between them, in units of R: log π / |y| should differ by γ/β.
    """
    chosen, rejected = policy_chosen_logps / chosen_lengths, policy_rejected_logps / rejected_lengths
    losses = -logsigmoid(beta * (chosen - rejected) - gamma)
    return PairLosses(_weighted(losses, weights), beta * chosen.detach(), beta * rejected.detach())


def loss_of(objective: Objective) -> Callable[..., Any]:
    """Return the loss of a registered objective: of B rows, with `RowLosses`, or of P pairs, with `PairLosses`."""
    loss: Callable[..., Any] = globals()[f"{objective.name}_loss"]
    return loss


def _weighted(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses if weights is None else losses * weights.to(losses.dtype)


def _log_odds(averages: Tensor) -> Tensor:
    """Log of p / (1 − p) for p = exp(averages), with p kept below 1 in value but not in gradient."""
    most = -torch.finfo(averages.dtype).eps
    below = averages + (averages.clamp(max=most) - averages).detach()
    return below - torch.log(-torch.expm1(below))


class _Range(NamedTuple):
    least: float
    most: float
    words: str


_FINITE: Final = sys.float_info.max
# Rounding lifts a sum of log-probabilities above 0 by less than a nat; a loss passed by mistake is far above.
_LOG_PROBABILITY: Final = _Range(
    -_FINITE,
    1.0,
    "a finite log-probability; leave the row out or, if training caused it, lower the learning rate or use float32",
)
_ZERO_OR_MORE: Final = _Range(0.0, _FINITE, "a finite number, 0 or more")
_ABOVE_ZERO: Final = _Range(sys.float_info.min, _FINITE, "a finite number above 0")
_LENGTH: Final = _Range(1.0, _FINITE, "1 token or more; leave empty completions out")
_RANGES: Final = {
    "beta": _ABOVE_ZERO,
    "chosen_lengths": _LENGTH,
    "rejected_lengths": _LENGTH,
    **dict.fromkeys(("z0", "gamma", "weights", "odds_weight", "desirable_weight", "undesirable_weight"), _ZERO_OR_MORE),
}


def _check(*, desirable: Tensor | None = None, **arguments: Tensor | float | None) -> None:
    """Raise `TrainingError` unless tensors have the shape of the first one and all numbers lie in their ranges."""
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    first, shape = next((name, list(value.shape)) for name, value in tensors.items())
    if len(shape) != 1 or not shape[0]:
        raise TrainingError(f"{first} has shape {shape}; pass one number a row, for at least one row")
    for name, value in tensors.items():
        if list(value.shape) != shape and not (name == "z0" and value.ndim == 0):
            raise TrainingError(f"{name} has shape {list(value.shape)} and {first} {shape}; make them the same")
        if name not in _RANGES and value.dtype not in (torch.float32, torch.float64):
            raise TrainingError(f"{name} is {value.dtype}, too coarse for sums of log-probabilities; use float32")
    if desirable is not None and (desirable.dtype != torch.bool or list(desirable.shape) != shape):
        raise TrainingError(f"desirable is {desirable.dtype} {list(desirable.shape)}; make it torch.bool {shape}")
    for name, number in arguments.items():
        if number is not None and not isinstance(number, Tensor):
            _within(name, number, _RANGES[name])
    edges = torch.stack([edge for value in tensors.values() for edge in value.detach().aminmax()]).tolist()
    for (name, value), low, high in zip(tensors.items(), edges[::2], edges[1::2], strict=True):
        allowed = _RANGES.get(name, _LOG_PROBABILITY)
        if not (allowed.least <= low and high <= allowed.most):  # true of NaN too
            for row, number in enumerate(value.reshape(-1).tolist()):
                _within(f"{name}[{row}]", number, allowed)


def _within(name: str, number: float, allowed: _Range) -> None:
    if not allowed.least <= number <= allowed.most:
        raise TrainingError(f"{name} is {number}, and must be {allowed.words}")
