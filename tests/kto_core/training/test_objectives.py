"""Every objective against its paper's equation, written out as the paper writes it, in 400 digits and without torch."""

import inspect
import math
from typing import Any

import hypothesis
import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kto_core.base.exceptions import TrainingError
from kto_core.training.objectives import apo_zero_loss, dpo_loss, estimate_z0, ipo_loss, kto_loss, orpo_loss, simpo_loss

exp, log = mpmath.exp, mpmath.log
mpmath.mp.dps = 400


def sigma(u):
    return 1 / (1 + exp(-u))


def paper_kto(policy_logps, reference_logps, desirable, *, z0, beta, desirable_weight, undesirable_weight):
    """arXiv 2402.01306, equation 8: λ_y − v(x, y)."""
    r = policy_logps - reference_logps
    if desirable:
        return desirable_weight - desirable_weight * sigma(beta * (r - z0))
    return undesirable_weight - undesirable_weight * sigma(beta * (z0 - r))


def paper_apo_zero(policy_logps, reference_logps, desirable, *, beta, desirable_weight, undesirable_weight):
    """arXiv 2408.06266, equation 7: −σ(r_θ(x, y_w)) + σ(r_θ(x, y_l)), here a term at a time, and 1 more."""
    r = beta * (policy_logps - reference_logps)
    return desirable_weight * (1 - sigma(r)) if desirable else undesirable_weight * sigma(r)


def paper_dpo(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, *, beta):
    """arXiv 2305.18290, equation 7."""
    return -log(
        sigma(
            beta * (policy_chosen_logps - reference_chosen_logps)
            - beta * (policy_rejected_logps - reference_rejected_logps)
        )
    )


def paper_ipo(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, *, beta):
    """arXiv 2310.12036, equation 17: (h − τ⁻¹/2)², h = log π(y_w)·π_ref(y_l) / (π(y_l)·π_ref(y_w))."""
    h = (policy_chosen_logps + reference_rejected_logps) - (policy_rejected_logps + reference_chosen_logps)
    return (h - 1 / beta / 2) ** 2


def paper_orpo(policy_chosen_logps, policy_rejected_logps, *, chosen_lengths, rejected_lengths, odds_weight):
    """arXiv 2403.07691, equations 3 (log P, a mean over tokens), 4 and 5 (odds, and their ratio), 6 and 7."""
    chosen, rejected = exp(policy_chosen_logps / chosen_lengths), exp(policy_rejected_logps / rejected_lengths)
    odds_ratio = (chosen / (1 - chosen)) / (rejected / (1 - rejected))
    return -log(chosen) + odds_weight * -log(sigma(log(odds_ratio)))


def paper_simpo(policy_chosen_logps, policy_rejected_logps, *, chosen_lengths, rejected_lengths, beta, gamma):
    """arXiv 2405.14734, equation 6."""
    chosen, rejected = beta / chosen_lengths * policy_chosen_logps, beta / rejected_lengths * policy_rejected_logps
    return -log(sigma(chosen - rejected - gamma))


PAPERS = {
    kto_loss: paper_kto,
    apo_zero_loss: paper_apo_zero,
    dpo_loss: paper_dpo,
    ipo_loss: paper_ipo,
    orpo_loss: paper_orpo,
    simpo_loss: paper_simpo,
}
DTYPES = {"desirable": torch.bool, "chosen_lengths": torch.int64, "rejected_lengths": torch.int64}
SIDES = ("", "chosen_", "rejected_")

SETTINGS = st.fixed_dictionaries(
    {
        "z0": st.one_of(st.just(0.0), st.floats(0, 50)),
        "beta": st.floats(0.01, 2),
        "gamma": st.floats(0, 5),
        "odds_weight": st.floats(0, 2),
        "desirable_weight": st.floats(0, 4),
        "undesirable_weight": st.floats(0, 4),
    }
)


@st.composite
def rows(draw):
    """The inputs of any objective for a row or pair: down to −10,000 nats, up to 1,000 off π_ref, one token or many."""
    row: dict[str, Any] = {"desirable": draw(st.booleans()), "weights": draw(st.one_of(st.just(0.0), st.floats(0, 3)))}
    for side in SIDES:
        reference = draw(st.floats(-1e4, -1e-3))
        ratio = draw(st.one_of(st.floats(-3, 3), st.floats(-1e3, 1e3)))
        row[f"reference_{side}logps"] = reference
        row[f"policy_{side}logps"] = min(reference + ratio, -1e-3)
        row[f"{side}lengths"] = draw(st.integers(1, 2000))
    return row


few = hypothesis.settings(max_examples=30, deadline=None)
batches = st.lists(rows(), min_size=1, max_size=3)
each_objective = pytest.mark.parametrize("objective", PAPERS, ids=lambda objective: objective.__name__)

# Two classes, a weight of 0, completions of one token, and log-ratios on both sides of 0.
ROWS: list[dict[str, Any]] = [
    {"desirable": good, "weights": weight}
    | {f"policy_{side}logps": policy - i for i, side in enumerate(SIDES)}
    | {f"reference_{side}logps": reference + i for i, side in enumerate(SIDES)}
    | {f"{side}lengths": length + i for i, side in enumerate(SIDES)}
    for good, weight, policy, reference, length in [
        (True, 1.0, -12.0, -11.0, 9),
        (False, 0.5, -3.5, -5.0, 2),
        (True, 0.0, -40.0, -42.5, 30),
        (False, 2.0, -7.25, -9.0, 4),
        (True, 0.25, -0.5, -3.0, 1),
    ]
]
FIXED = {"z0": 0.7, "beta": 0.3, "gamma": 0.4, "odds_weight": 0.6, "desirable_weight": 1.1, "undesirable_weight": 1.7}


def taken(function, values):
    """Return the `values` that `function` accepts, by name."""
    return {name: values[name] for name in inspect.signature(function).parameters if name in values}


def tensors(objective, rows, dtype=torch.float64):
    """Return the arguments of `objective` with one number a row; the policy's are leaves of the graph."""
    columns = {name: [row[name] for row in rows] for name in taken(objective, rows[0])}
    made = {name: torch.tensor(column, dtype=DTYPES.get(name, dtype)) for name, column in columns.items()}
    return {name: tensor.requires_grad_(name.startswith("policy")) for name, tensor in made.items()}


def losses(objective, rows, settings, **changed):
    return objective(**tensors(objective, rows), **taken(objective, settings), **changed).losses


def gradients(objective, rows, settings, dtype=torch.float64):
    arguments = tensors(objective, rows, dtype)
    total = objective(**arguments, **taken(objective, settings)).losses.sum()
    return torch.stack(torch.autograd.grad(total, [leaf for leaf in arguments.values() if leaf.requires_grad]))


@each_objective
@few
@given(rows=batches, settings=SETTINGS)
def test_losses_are_the_papers(objective, rows, settings):
    paper = PAPERS[objective]
    exact = {name: mpmath.mpf(value) for name, value in taken(paper, settings).items()}
    expected = [
        float(row["weights"] * paper(**{n: mpmath.mpf(v) for n, v in taken(paper, row).items()}, **exact))
        for row in rows
    ]
    least = 1e-9 if objective is ipo_loss else 1e-300  # its square cancels near the target
    assert losses(objective, rows, settings).tolist() == pytest.approx(expected, rel=1e-9, abs=least)


@each_objective
def test_gradients_are_those_of_the_losses(objective):
    arguments = tensors(objective, ROWS)
    policy = [name for name, tensor in arguments.items() if tensor.requires_grad]

    def of_policy(*logps):
        return objective(**arguments | dict(zip(policy, logps, strict=True)), **taken(objective, FIXED)).losses

    assert torch.autograd.gradcheck(of_policy, [arguments[name] for name in policy])


@each_objective
@few
@given(rows=batches, settings=SETTINGS)
def test_nothing_overflows_in_float32(objective, rows, settings):
    arguments = tensors(objective, rows, torch.float32)
    for figures in objective(**arguments, **taken(objective, settings)):
        assert figures.dtype == torch.float32
        assert figures.isfinite().all()
    assert gradients(objective, rows, settings, torch.float32).isfinite().all()


@each_objective
@few
@given(rows=batches, settings=SETTINGS)
def test_a_row_s_loss_is_its_own(objective, rows, settings):
    """A row's loss does not depend on its batch: of one class, of one row, in any order."""
    alone = torch.cat([losses(objective, [row], settings) for row in rows])
    torch.testing.assert_close(losses(objective, rows, settings), alone, rtol=1e-12, atol=0)


@each_objective
@few
@given(rows=batches, settings=SETTINGS)
def test_weights_multiply_and_zero_is_zero(objective, rows, settings):
    weights = torch.tensor([row["weights"] for row in rows], dtype=torch.float64)
    plain = [{name: value for name, value in row.items() if name != "weights"} for row in rows]
    assert torch.equal(losses(objective, rows, settings), losses(objective, plain, settings) * weights)
    assert torch.equal(losses(objective, plain, settings), losses(objective, plain, settings, weights=None))
    left_out = weights == 0
    assert not losses(objective, rows, settings)[left_out].any()
    assert not gradients(objective, rows, settings)[:, left_out].any()


@each_objective
def test_weights_of_double_precision_leave_losses_in_single(objective):
    arguments = tensors(objective, ROWS, torch.float32)
    arguments["weights"] = arguments["weights"].double()
    assert objective(**arguments, **taken(objective, FIXED)).losses.dtype == torch.float32


@each_objective
def test_only_the_policy_learns(objective):
    arguments = tensors(objective, ROWS)
    wanting = {name: tensor.requires_grad_(tensor.is_floating_point()) for name, tensor in arguments.items()}
    settings = taken(objective, FIXED)
    if "z0" in settings:
        wanting["z0"] = settings["z0"] = torch.tensor(0.7, requires_grad=True)
    loss, *rewards = objective(**arguments | settings)
    loss.sum().backward()
    del wanting["weights"]
    learning = {name for name, tensor in wanting.items() if tensor.grad is not None}
    assert learning == {name for name in arguments if name.startswith("policy")}
    assert not any(reward.requires_grad for reward in rewards)


REWARDS = {
    kto_loss: lambda row: 0.3 * (row["policy_logps"] - row["reference_logps"]),
    dpo_loss: lambda row: 0.3 * (row["policy_chosen_logps"] - row["reference_chosen_logps"]),
    orpo_loss: lambda row: -log(exp(-row["policy_chosen_logps"] / row["chosen_lengths"]) - 1),
    simpo_loss: lambda row: 0.3 * row["policy_chosen_logps"] / row["chosen_lengths"],
}
REWARDS |= {apo_zero_loss: REWARDS[kto_loss], ipo_loss: REWARDS[dpo_loss]}


@each_objective
def test_rewards_are_what_the_loss_compares(objective):
    _, rewards, *rejected = objective(**tensors(objective, ROWS), **taken(objective, FIXED))
    assert rewards.tolist() == pytest.approx([float(REWARDS[objective](row)) for row in ROWS], rel=1e-12)
    if rejected:  # the same function of the other side
        assert torch.equal(rejected[0], objective(**tensors(objective, swapped(ROWS)), **taken(objective, FIXED))[1])


def swapped(rows):
    other = {"chosen": "rejected", "rejected": "chosen"}
    return [{"_".join(other.get(p, p) for p in name.split("_")): value for name, value in r.items()} for r in rows]


@few
@given(rows=batches, settings=SETTINGS)
def test_kto_lies_between_zero_and_lambda(rows, settings):
    bounds = [r["weights"] * settings["desirable_weight" if r["desirable"] else "undesirable_weight"] for r in rows]
    loss = losses(kto_loss, rows, settings)
    assert (loss >= 0).all()
    assert (loss <= torch.tensor(bounds, dtype=torch.float64) * (1 + 1e-12)).all()


@few
@given(rows=batches, settings=SETTINGS)
def test_kto_pulls_each_class_its_own_way_by_the_paper_s_gradient(rows, settings):
    """Proposition 4.1: −λ_D·β·σ(u)(1 − σ(u)) for a desirable row, + λ_U for an undesirable one, u = β(r − z0)."""
    expected = []
    for row in rows:
        u = settings["beta"] * (mpmath.mpf(row["policy_logps"]) - row["reference_logps"] - settings["z0"])
        strength = -settings["desirable_weight"] if row["desirable"] else settings["undesirable_weight"]
        expected.append(float(row["weights"] * strength * settings["beta"] * sigma(u) * sigma(-u)))
    assert gradients(kto_loss, rows, settings)[0].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("ratio", [-200.0, 200.0])
@pytest.mark.parametrize("desirable", [True, False])
def test_kto_far_on_either_side_keeps_its_gradient_in_float32(desirable, ratio):
    row = {"policy_logps": -300.0 + ratio, "reference_logps": -300.0, "desirable": desirable}
    slope = gradients(kto_loss, [row], FIXED | {"z0": 0.0, "beta": 0.1}, torch.float32).item()
    strength = -1.1 if desirable else 1.7
    assert slope == pytest.approx(strength * 0.1 * math.exp(-20) / (1 + math.exp(-20)) ** 2, rel=1e-5)


@few
@given(rows=batches, settings=SETTINGS, rise=st.floats(1e-3, 100))
def test_apo_zero_is_monotone_in_the_policy(rows, settings, rise):
    fallen = [row | {"policy_logps": row["policy_logps"] - rise} for row in rows]
    change = losses(apo_zero_loss, rows, settings) - losses(apo_zero_loss, fallen, settings)
    assert all(delta <= 0 if row["desirable"] else delta >= 0 for row, delta in zip(rows, change, strict=True))


@few
@given(rows=batches, settings=SETTINGS)
def test_the_preferences_of_a_pair_and_of_the_pair_swapped_add_up_to_one(rows, settings):
    settings |= {"gamma": 0.0}
    rows = [row | {"weights": 1.0} for row in rows]
    for objective in (dpo_loss, simpo_loss):
        both = losses(objective, rows, settings), losses(objective, swapped(rows), settings)
        torch.testing.assert_close((-both[0]).exp() + (-both[1]).exp(), torch.ones(len(rows), dtype=torch.float64))


@few
@given(rows=batches, settings=SETTINGS)
def test_simpo_without_a_margin_is_dpo_on_averages_without_a_reference(rows, settings):
    averaged = [
        row
        | {f"policy_{side}logps": row[f"policy_{side}logps"] / row[f"{side}lengths"] for side in SIDES}
        | {f"reference_{side}logps": 0.0 for side in SIDES}
        for row in rows
    ]
    simpo = losses(simpo_loss, rows, settings | {"gamma": 0.0})
    torch.testing.assert_close(simpo, losses(dpo_loss, averaged, settings), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logp", [0.0, -1e-30, -1e-8, 1e-6])
@pytest.mark.parametrize("certain", ["policy_chosen_logps", "policy_rejected_logps"])
def test_orpo_bears_a_completion_of_probability_one(certain, logp, dtype):
    row = ROWS[0] | {certain: logp, "chosen_lengths": 1, "rejected_lengths": 1}
    loss = orpo_loss(**tensors(orpo_loss, [row], dtype), odds_weight=0.6).losses
    chosen, rejected = gradients(orpo_loss, [row], FIXED, dtype)
    assert loss.isfinite().all()
    assert -1e17 < chosen < 0 < rejected < 1e17  # towards the chosen, off the rejected: never stuck


@pytest.mark.parametrize("drift", [1.5, 0.0, -1.5])
def test_z0_is_the_mean_log_ratio_clamped_at_zero(drift):
    reference = torch.tensor([-20.0, -10.0, -30.0], dtype=torch.float64)
    policy = (reference + drift + torch.tensor([-5.0, 3.0, 2.0])).requires_grad_()
    z0 = estimate_z0(policy, reference)
    assert z0.item() == pytest.approx(max(0.0, drift), abs=1e-12)
    assert z0.shape == ()
    assert not z0.requires_grad


def test_z0_may_be_of_each_row():
    each = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    together = losses(kto_loss, ROWS, FIXED | {"z0": each})
    alone = [losses(kto_loss, [row], FIXED | {"z0": z0.item()}) for row, z0 in zip(ROWS, each, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-15, atol=0)


NAN, INF = float("nan"), float("inf")


def doubles(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("objective", "argument", "value", "sentence"),
    [
        (kto_loss, "policy_logps", doubles(-1, NAN), r"policy_logps\[1\] is nan, and must be a finite log-probability"),
        (kto_loss, "reference_logps", doubles(-INF, -1), r"reference_logps\[0\] is -inf"),
        (dpo_loss, "policy_rejected_logps", doubles(-1, INF), r"policy_rejected_logps\[1\] is inf"),
        (kto_loss, "policy_logps", doubles(-1, 12.5), r"policy_logps\[1\] is 12.5"),  # a loss, not a log-probability
        (kto_loss, "policy_logps", doubles(-1, 1.001), r"policy_logps\[1\] is 1.001"),
        (kto_loss, "policy_logps", doubles(-1), r"reference_logps has shape \[2\] and policy_logps \[1\]"),
        (kto_loss, "reference_logps", doubles([-1, -2]), r"reference_logps has shape \[1, 2\] and policy_logps \[2\]"),
        (kto_loss, "policy_logps", doubles([-1, -2]), r"policy_logps has shape \[1, 2\]; pass one number a row"),
        (kto_loss, "policy_logps", doubles(), r"policy_logps has shape \[0\]; .* for at least one row"),
        (kto_loss, "desirable", torch.tensor([True]), r"desirable is torch.bool \[1\]; make it torch.bool \[2\]"),
        (kto_loss, "desirable", torch.tensor([1, 0]), r"desirable is torch.int64 \[2\]; make it torch.bool \[2\]"),
        (kto_loss, "weights", doubles(1, NAN), r"weights\[1\] is nan, and must be a finite number, 0 or more"),
        (orpo_loss, "weights", doubles(1, -0.5), r"weights\[1\] is -0.5"),
        (kto_loss, "weights", doubles(INF, 1), r"weights\[0\] is inf"),
        (kto_loss, "weights", torch.tensor(1.0), r"weights has shape \[\] and policy_logps \[2\]"),
        (kto_loss, "z0", torch.tensor(-0.125), r"z0\[0\] is -0.125, and must be a finite number, 0 or more"),
        (kto_loss, "z0", doubles(0, NAN), r"z0\[1\] is nan"),
        (kto_loss, "z0", doubles(0, 0, 0), r"z0 has shape \[3\] and policy_logps \[2\]"),
        (simpo_loss, "chosen_lengths", torch.tensor([4, 0]), r"chosen_lengths\[1\] is 0, and must be 1 token or more"),
    ],
)
def test_bad_rows_are_named(objective, argument, value, sentence):
    arguments = tensors(objective, ROWS[:2]) | taken(objective, FIXED) | {argument: value}
    with pytest.raises(TrainingError, match=sentence):
        objective(**arguments)


def test_a_sum_that_rounding_lifted_above_zero_is_a_log_probability():
    row = ROWS[0] | {"policy_logps": 1.0}
    assert losses(kto_loss, [row], FIXED).isfinite().all()


@pytest.mark.parametrize("setting", ["beta", "z0", "gamma", "odds_weight", "desirable_weight", "undesirable_weight"])
@pytest.mark.parametrize("value", [-0.1, NAN, INF])
def test_bad_settings_are_named(setting, value):
    objective = next(objective for objective in reversed(PAPERS) if setting in inspect.signature(objective).parameters)
    with pytest.raises(TrainingError, match=f"{setting} is {value}, and must be a finite number"):
        losses(objective, ROWS, FIXED | {setting: value})


def test_a_beta_of_zero_teaches_nothing_and_is_refused():
    with pytest.raises(TrainingError, match=r"beta is 0.0, and must be a finite number above 0"):
        losses(kto_loss, ROWS, FIXED | {"beta": 0.0})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_coarse_log_probabilities_are_refused(dtype):
    logps = torch.tensor([-300.0, -200.0], dtype=dtype)
    with pytest.raises(TrainingError, match=f"policy_kl_logps is {dtype}, too coarse"):
        estimate_z0(logps, logps)


def test_z0_of_no_rows_is_refused():
    with pytest.raises(TrainingError, match="at least one row"):
        estimate_z0(torch.empty(0), torch.empty(0))
