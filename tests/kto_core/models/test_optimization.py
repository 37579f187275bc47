"""AdamW and the learning rate's rise and fall, against the papers and against transformers' schedules."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from kto_core.models.optimization import make_optimizer, make_schedule, peak_rate

PEAK = 0.02


def rates(make, steps):
    """Return the learning rate of each of `steps` steps under the schedule that `make` builds."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = make(optimizer)
    shown = []
    for _ in range(steps):
        shown.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return shown


def ours(steps, warmup, schedule, more=0):
    return rates(
        lambda optimizer: make_schedule(optimizer, steps=steps, warmup=warmup, schedule=schedule), steps + more
    )


THEIRS = {"cosine": get_cosine_schedule_with_warmup, "linear": get_linear_schedule_with_warmup}


@pytest.mark.parametrize("schedule", THEIRS)
@pytest.mark.parametrize(
    ("steps", "warmup", "rise"), [(10, 0.0, 0), (40, 0.1, 4), (25, 0.1, 3), (2, 0.5, 1), (1, 0.0, 0)]
)
def test_the_fall_is_that_of_transformers(schedule, steps, warmup, rise):
    expected = rates(
        lambda optimizer: THEIRS[schedule](optimizer, num_warmup_steps=rise, num_training_steps=steps), steps
    )
    assert ours(steps, warmup, schedule)[rise:] == pytest.approx(expected[rise:], rel=1e-12)
    assert expected[rise] == PEAK


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rise_is_linear_and_no_step_of_it_is_at_rate_zero(schedule):
    """25 · 0.1, rounded up, is three steps: a quarter, a half and three quarters of the peak, which comes next."""
    assert ours(25, 0.1, schedule)[:4] == pytest.approx([PEAK / 4, PEAK / 2, PEAK * 3 / 4, PEAK])


def test_a_constant_rate_stays_at_its_peak():
    assert ours(25, 0.1, "constant", more=5)[3:] == [PEAK] * 27


def test_the_cosine_is_half_way_down_in_the_middle_and_at_zero_after_the_last_step():
    """cos(0), cos(π/4), cos(π/2), cos(3π/4), and cos(π) for the step that is not taken."""
    root = 2**-0.5
    expected = [PEAK * share for share in (1, (1 + root) / 2, 0.5, (1 - root) / 2, 0)]
    assert ours(4, 0.0, "cosine", more=1) == pytest.approx(expected, abs=1e-15)


def test_a_run_that_is_all_warm_up_ends_one_step_below_its_peak():
    assert ours(4, 1.0, "cosine") == pytest.approx([PEAK * n / 5 for n in (1, 2, 3, 4)])


def adamw(weight, gradients, *, rate, decay):
    """Algorithm 2 of arXiv 1711.05101 with β₁ 0.9, β₂ 0.95 and ε 1e-8; the decay is times the rate, as in torch."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for t, gradient in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        step = (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.95**t)) + 1e-8)
        weight = weight - rate * step - rate * decay * weight
    return weight


@pytest.mark.parametrize("size", [1.0, 1e-8])  # gradients as small as ε show it
def test_the_optimizer_is_adamw_with_decay_on_matrices_alone(size):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
    before = {name: weight.detach().numpy().copy() for name, weight in model.named_parameters()}
    optimizer = make_optimizer(model, learning_rate=0.1, weight_decay=0.3)
    gradients = {name: [] for name in before}
    for _ in range(4):
        for name, weight in model.named_parameters():
            weight.grad = torch.randn_like(weight) * size
            gradients[name].append(weight.grad.numpy().copy())
        optimizer.step()
    for name, weight in model.named_parameters():
        expected = adamw(before[name], gradients[name], rate=0.1, decay=0.3 if name == "0.weight" else 0.0)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-9)


def test_frozen_weights_are_not_the_optimizers():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    held = [
        p for group in make_optimizer(model, learning_rate=0.1, weight_decay=0.0).param_groups for p in group["params"]
    ]
    assert {id(p) for p in held} == {id(p) for p in model[1].parameters()}


@pytest.mark.parametrize(
    ("parameters", "lora_rank", "rate"),
    [(9_999_999, 0, 1e-4), (10_000_000, 0, 1e-6), (10_000_000, 8, 1e-4), (1, 8, 1e-4), (124_000_000, 0, 1e-6)],
)
def test_full_fine_tuning_of_a_large_model_is_slower(parameters, lora_rank, rate):
    model = nn.Linear(parameters, 1, bias=False, device="meta")
    assert peak_rate(model, lora_rank=lora_rank) == rate
