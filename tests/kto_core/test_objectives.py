"""The loss against the paper's equations, written out in float64 as it writes them (arXiv 2402.01306, section 4.1).

r(x, y) = log π(y|x) / π_ref(y|x)
z0 = max(0, 1/m Σ_i log π(y_{(i+1) mod m}|x_i) / π_ref(y_{(i+1) mod m}|x_i))
v(x, y) = λ_D σ(β(r − z0)) if y is desirable, λ_U σ(β(z0 − r)) if undesirable
L = E[λ_y − v(x, y)]
"""

import math

import pytest
import torch

from kto_core.objectives import estimate_z0, kto_loss

SETTINGS = {"beta": 0.3, "desirable_weight": 1.1, "undesirable_weight": 1.7}
POLICY = [-12.0, -3.5, -40.0, -7.25, -1.0]
REFERENCE = [-11.0, -4.0, -38.0, -9.0, -1.0]
DESIRABLE = [True, False, True, False, True]
WEIGHTS = [1.0, 0.5, 0.0, 2.0, 0.25]
KL_REFERENCE = [-20.0, -10.0, -30.0, -15.0, -5.0]
KL_POLICY = {"above zero": [-18.0, -9.0, -31.0, -13.0, -4.5], "clamped": [-25.0, -12.0, -30.0, -18.0, -5.5]}


def sigma(value):
    return 1 / (1 + math.exp(-value))


def paper_z0(policy, reference):
    return max(0.0, sum(p - r for p, r in zip(policy, reference, strict=True)) / len(policy))


def paper_losses(z0):
    losses = []
    for policy, reference, good, weight in zip(POLICY, REFERENCE, DESIRABLE, WEIGHTS, strict=True):
        r = policy - reference
        lam = SETTINGS["desirable_weight"] if good else SETTINGS["undesirable_weight"]
        value = lam * sigma(SETTINGS["beta"] * (r - z0 if good else z0 - r))
        losses.append(weight * (lam - value))
    return losses


def paper_gradients(z0):
    """d loss / d log π: −w λ β σ(u)(1 − σ(u)) for desirable rows, + for undesirable; z0 carries none."""
    gradients = []
    for policy, reference, good, weight in zip(POLICY, REFERENCE, DESIRABLE, WEIGHTS, strict=True):
        u = SETTINGS["beta"] * ((policy - reference) - z0)
        lam = SETTINGS["desirable_weight"] if good else SETTINGS["undesirable_weight"]
        slope = weight * lam * SETTINGS["beta"] * sigma(u) * (1 - sigma(u))
        gradients.append(-slope if good else slope)
    return gradients


def tensors():
    return (
        torch.tensor(POLICY, dtype=torch.float64, requires_grad=True),
        torch.tensor(REFERENCE, dtype=torch.float64),
        torch.tensor(DESIRABLE),
        torch.tensor(WEIGHTS, dtype=torch.float64),
    )


@pytest.mark.parametrize("case", KL_POLICY)
def test_losses_rewards_and_gradients_are_the_papers(case):
    kl_policy = torch.tensor(KL_POLICY[case], dtype=torch.float64, requires_grad=True)
    z0 = estimate_z0(kl_policy, torch.tensor(KL_REFERENCE, dtype=torch.float64))
    expected_z0 = paper_z0(KL_POLICY[case], KL_REFERENCE)
    assert (expected_z0 > 0) == (case == "above zero")
    assert z0.item() == pytest.approx(expected_z0, abs=1e-12)
    assert not z0.requires_grad

    policy, reference, desirable, weights = tensors()
    losses, rewards = kto_loss(policy, reference, desirable, z0=z0, weights=weights, **SETTINGS)
    losses.sum().backward()
    assert losses.tolist() == pytest.approx(paper_losses(expected_z0), abs=1e-12)
    assert policy.grad.tolist() == pytest.approx(paper_gradients(expected_z0), abs=1e-12)
    ratios = [p - r for p, r in zip(POLICY, REFERENCE, strict=True)]
    assert rewards.tolist() == pytest.approx([SETTINGS["beta"] * r for r in ratios], abs=1e-12)
    assert not rewards.requires_grad


def test_weight_zero_is_zero_and_no_weights_are_ones():
    policy, reference, desirable, weights = tensors()
    losses = kto_loss(policy, reference, desirable, z0=0.4, weights=weights, **SETTINGS).losses
    assert losses[2].item() == 0.0
    plain = kto_loss(policy, reference, desirable, z0=0.4, **SETTINGS).losses
    assert torch.allclose(plain * weights, losses, atol=1e-15)


def test_gradcheck():
    _, reference, desirable, weights = tensors()
    policy = torch.tensor(POLICY, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda logps: kto_loss(logps, reference, desirable, z0=0.7, weights=weights, **SETTINGS).losses, (policy,)
    )


def test_one_class_and_extreme_ratios_stay_finite():
    policy = torch.tensor([-1e4, -1e-3], requires_grad=True)
    losses, _ = kto_loss(policy, torch.tensor([-1.0, -1e4]), torch.tensor([False, False]), z0=0.0, **SETTINGS)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(policy.grad).all()
