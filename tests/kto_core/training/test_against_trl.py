"""Our objectives against TRL's own code, called on the same log-probabilities: `pip install .[benchmark]` to run it.

TRL 1.16 has no function of log-probabilities for KTO or DPO: the loss is worked out in the trainer's `_compute_loss`.
So the trainers are real, without their set-up, and what stands in for the model returns the tokens' log-probabilities.
"""

import itertools
import os
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from kto_core import KTOConfig
from kto_core.models.logps import GroupLogps
from kto_core.models.optimization import make_accelerator
from kto_core.training.kto import _accumulate
from kto_core.training.objectives import apo_zero_loss, dpo_loss, estimate_z0, ipo_loss, kto_loss, orpo_loss, simpo_loss
from tests.kto_core.training.test_apo_zero import alone, groups_of

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
trl = pytest.importorskip("trl", reason="trl is not installed; the extra `benchmark` holds it")
if not trl.__version__.startswith("1.16."):
    pytest.skip(f"these call into trl 1.16, and this is {trl.__version__}", allow_module_level=True)

CPOTrainer = pytest.importorskip("trl.experimental.cpo").CPOTrainer
ORPOTrainer = pytest.importorskip("trl.experimental.orpo").ORPOTrainer

EXACT = {torch.float64: 1e-14, torch.float32: 1e-6}
LENGTHS = {"ragged": [7, 1, 12, 3, 5, 9], "one token": [1] * 6}
CLASSES = {
    "both classes": [True, False, False, True, True, False],
    "all desirable": [True] * 6,
    "all undesirable": [False] * 6,
}
DRIFTS = {"z0 above 0": 4.0, "z0 clamped": -4.0}
SETTINGS = {"beta": 0.1, "desirable_weight": 1.1, "undesirable_weight": 1.7}


def token_logps(lengths, *, seed, dtype):
    """Log-probabilities of ragged completions' tokens, [B, longest], 0 after the end, and their mask."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    drawn = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (mask * drawn.log() * 3).to(dtype), mask


def as_batch(mask, *, prompt, prefix=""):
    """The tensors of TRL's collator for prompts of one token, which selects the log-probabilities."""
    first = torch.ones(len(mask), 1, dtype=torch.int64)
    return {
        f"{prefix}input_ids": torch.cat([first * prompt, torch.ones_like(mask, dtype=torch.int64)], dim=1),
        f"{prefix}attention_mask": torch.cat([first, mask], dim=1),
        f"{prefix}completion_mask": torch.cat([first * 0, mask], dim=1),
    }


def answering(**by_prompt):
    """A replacement of the model; its other figures only go into TRL's metrics."""

    def model(*, input_ids, **_):
        logps = by_prompt[f"prompt_{int(input_ids[0, 0])}"]
        return SimpleNamespace(log_probs=logps, entropy=logps, mean_logits=logps, is_top1=logps > -1)

    return model


def trainer(kind, **settings):
    """A trainer of TRL without its set-up: one process, on the CPU, references computed before."""
    made = kind.__new__(kind)
    one_process = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)
    made.model = SimpleNamespace(training=True)
    made.accelerator = one_process
    made.precompute_ref_logps = True
    made.aux_loss_enabled = False
    made._metrics = {"train": defaultdict(list)}
    made._total_train_tokens, made._tp_size = 0, 1
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def trl_on_rows(loss_type, logps, mask, kl_logps, reference, kl_reference, desirable, **settings):
    """TRL's mean loss over rows, and its metrics, for `loss_type` kto or apo_zero_unpaired."""
    theirs = trainer(trl.KTOTrainer, loss_type=loss_type, calculate_KL=loss_type == "kto", **settings)
    kl_mask = torch.ones_like(kl_logps, dtype=torch.bool)
    batch = as_batch(mask, prompt=0) | as_batch(kl_mask, prompt=1, prefix="KL_")
    batch |= {"label": desirable, "ref_logps": reference, "ref_KL_logps": kl_reference}
    loss = theirs._compute_loss(answering(prompt_0=logps, prompt_1=kl_logps), batch, return_outputs=False)
    return loss, {name: values[0] for name, values in theirs._metrics["train"].items()}


def scene(lengths, labels, drift, dtype=torch.float64):
    """A batch: tokens' log-probabilities of y (with gradient) and of y', the references' sums, and labels."""
    logps, mask = token_logps(LENGTHS[lengths], seed=1, dtype=dtype)
    kl_logps, _ = token_logps([4] * 6, seed=2, dtype=dtype)
    reference = logps.sum(-1) + torch.tensor([-30, -2, 0.5, 1, 9, 60], dtype=dtype).clamp(max=-logps.sum(-1))
    kl_reference = kl_logps.sum(-1) - DRIFTS[drift]
    return logps.requires_grad_(), mask, kl_logps, reference, kl_reference, torch.tensor(CLASSES[labels])


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("labels", CLASSES)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto_and_apo_zero(loss_type, lengths, labels, drift, dtype):
    logps, mask, kl_logps, reference, kl_reference, desirable = scene(lengths, labels, drift, dtype)
    expected, metrics = trl_on_rows(loss_type, logps, mask, kl_logps, reference, kl_reference, desirable, **SETTINGS)
    if loss_type == "kto":
        z0 = estimate_z0(kl_logps.sum(-1), kl_reference)
        assert (z0 > 0) == (drift == "z0 above 0")
        assert z0.item() == metrics["kl"]
        losses, rewards = kto_loss(logps.sum(-1), reference, desirable, z0=z0, **SETTINGS)
    else:
        losses, rewards = apo_zero_loss(logps.sum(-1), reference, desirable, **SETTINGS)
    assert_same(losses.mean(), expected, logps, within=EXACT[dtype])
    for side, chosen in (("chosen", desirable), ("rejected", ~desirable)):
        if chosen.any():
            assert rewards[chosen].mean().item() == pytest.approx(metrics[f"rewards/{side}"], rel=1e-6)


@pytest.mark.usefixtures("norms_in_float64")
@pytest.mark.parametrize("objective", ["kto", "apo_zero"])
def test_a_training_step(reference, objective):
    """Loss and every parameter's gradient of a toy model: our step, and TRL's loss of plain forwards."""
    model, groups = groups_of(reference, mismatched=objective == "kto")
    group = [replace(row, weight=1.0) for row in itertools.chain(*groups)]
    found = _accumulate(
        GroupLogps(model),
        [group],
        lambdas=(SETTINGS["desirable_weight"], SETTINGS["undesirable_weight"]),
        config=KTOConfig(objective=objective, beta=SETTINGS["beta"]),
        accelerator=make_accelerator("float32"),
    )
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    tokens = [alone(model, row.own) for row in group]
    others = [alone(model, row.mismatched or row.own).sum() for row in group]
    known = torch.tensor([[row.reference_logp, row.reference_kl_logp] for row in group], dtype=torch.float64)
    theirs, metrics = trl_on_rows(
        "kto" if objective == "kto" else "apo_zero_unpaired",
        pad_sequence(tokens, batch_first=True),
        pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in tokens], batch_first=True),
        torch.stack(others)[:, None].detach(),
        *known.unbind(dim=1),
        torch.tensor([row.desirable for row in group]),
        **SETTINGS,
    )
    theirs.backward()
    assert found["loss"] == pytest.approx(theirs.item(), abs=1e-10)
    assert found["z0"] == (pytest.approx(metrics["kl"], abs=1e-10) if objective == "kto" else None)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=0, atol=1e-10)


def assert_same(ours, theirs, leaf, *, within):
    """The same loss, and the same gradient at every token."""
    assert ours.dtype == leaf.dtype
    torch.testing.assert_close(ours, theirs, rtol=0, atol=within)
    gradients = [torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=within)


@pytest.mark.parametrize("drift", DRIFTS)
def test_kto_row_by_row(drift):
    """TRL returns no loss per row, but a batch of one row gives it."""
    logps, mask, kl_logps, reference, kl_reference, desirable = scene("ragged", "both classes", drift)
    z0 = estimate_z0(kl_logps.sum(-1), kl_reference)
    losses, _ = kto_loss(logps.sum(-1), reference, desirable, z0=z0, **SETTINGS)
    for row, loss in enumerate(losses):
        one = slice(row, row + 1)
        batch = logps[one], mask[one], kl_logps, reference[one], kl_reference, desirable[one]
        torch.testing.assert_close(loss, trl_on_rows("kto", *batch, **SETTINGS)[0], rtol=0, atol=1e-14)


def test_kto_weights_of_zero():
    """TRL only has class weights: λ = 0 is a weight of 0, and leaving rows out differs only in the mean."""
    logps, mask, kl_logps, reference, kl_reference, desirable = scene("ragged", "both classes", "z0 above 0")
    z0 = estimate_z0(kl_logps.sum(-1), kl_reference)
    settings = SETTINGS | {"undesirable_weight": 0.0}
    losses = kto_loss(logps.sum(-1), reference, desirable, z0=z0, **settings).losses
    by_class = trl_on_rows("kto", logps, mask, kl_logps, reference, kl_reference, desirable, **settings)[0]
    assert_same(losses.mean(), by_class, logps, within=1e-14)

    weights = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    kept = weights > 0
    losses = kto_loss(logps.sum(-1), reference, desirable, z0=z0, weights=weights, **SETTINGS).losses
    rest = logps[kept], mask[kept], kl_logps, reference[kept], kl_reference, desirable[kept]
    assert_same(losses.sum() / kept.sum(), trl_on_rows("kto", *rest, **SETTINGS)[0], logps, within=1e-14)


def test_kto_far_from_the_reference_keeps_the_gradient_that_trl_loses_in_float32():
    """1 − σ(u) cancels for a row that is learned: from u = 17.5 on TRL's loss and gradient are 0."""
    logps = torch.tensor([[-2.0]], requires_grad=True)
    rest = torch.ones(1, 1, dtype=torch.bool), torch.tensor([[-1.0]]), torch.tensor([-202.0]), torch.tensor([-1.0])
    theirs, _ = trl_on_rows("kto", logps, *rest, torch.tensor([True]), **SETTINGS)
    ours = kto_loss(logps.sum(-1), torch.tensor([-202.0]), torch.tensor([True]), z0=0.0, **SETTINGS).losses.sum()
    assert theirs == 0
    assert ours.item() == pytest.approx(1.1 * 2.0611536181902037e-09, rel=1e-5)
    assert torch.autograd.grad(theirs, logps)[0] == 0
    assert torch.autograd.grad(ours, logps)[0].item() == pytest.approx(-0.1 * ours.item(), rel=1e-5)


def pairs(dtype=torch.float64):
    """Tokens' log-probabilities of six completions, chosen before rejected, their mask, lengths, and references."""
    logps, mask, _, reference, _, _ = scene("ragged", "both classes", "z0 above 0", dtype)
    return logps, mask, mask.sum(-1), reference


def trl_on_pairs(loss_type, logps, mask, reference, *, beta):
    theirs = trainer(
        trl.DPOTrainer,
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        use_weighting=False,
    )
    chosen, rejected = reference.chunk(2)
    batch = as_batch(mask, prompt=0) | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    return theirs._compute_loss(answering(prompt_0=logps), batch, return_outputs=False), theirs._metrics["train"]


def assert_rewards(ours, metrics):
    assert ours.chosen_rewards.mean().item() == pytest.approx(metrics["rewards/chosen"][0], rel=1e-12)
    assert ours.rejected_rewards.mean().item() == pytest.approx(metrics["rewards/rejected"][0], rel=1e-12)


def test_dpo():
    logps, mask, _, reference = pairs()
    expected, metrics = trl_on_pairs("sigmoid", logps, mask, reference, beta=0.1)
    ours = dpo_loss(*logps.sum(-1).chunk(2), *reference.chunk(2), beta=0.1)
    assert_same(ours.losses.mean(), expected, logps, within=1e-14)
    assert_rewards(ours, metrics)


def test_ipo_on_averages_is_trl_s():
    """The paper's loss and ours use sums; TRL's uses log-probabilities divided by lengths."""
    logps, mask, lengths, reference = pairs()
    expected, _ = trl_on_pairs("ipo", logps, mask, reference, beta=0.1)
    averages = [*(logps.sum(-1) / lengths).chunk(2), *(reference / lengths).chunk(2)]
    assert_same(ipo_loss(*averages, beta=0.1).losses.mean(), expected, logps, within=1e-12)
    of_sums = ipo_loss(*logps.sum(-1).chunk(2), *reference.chunk(2), beta=0.1).losses.mean()
    assert abs(of_sums - expected) > 1


def test_apo_zero_of_a_pair_is_the_sum_of_its_rows():
    logps, mask, _, reference = pairs()
    expected, _ = trl_on_pairs("apo_zero", logps, mask, reference, beta=0.1)
    desirable = torch.arange(6) < 3
    alone = apo_zero_loss(logps.sum(-1), reference, desirable, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0)
    assert_same(sum(alone.losses.chunk(2)).mean(), expected, logps, within=1e-14)


def test_simpo():
    logps, _, lengths, _ = pairs()
    sides = zip((logps.sum(-1) / lengths).chunk(2), logps.sum(-1).chunk(2), lengths.chunk(2), strict=True)
    (chosen, chosen_sum, chosen_lengths), (rejected, rejected_sum, rejected_lengths) = sides
    theirs = trainer(CPOTrainer, loss_type="simpo", simpo_gamma=0.5, beta=2.0, label_smoothing=0.0, alpha=0.0)
    expected, *rewards = theirs.cpo_loss(chosen, rejected)
    ours = simpo_loss(
        chosen_sum,
        rejected_sum,
        chosen_lengths=chosen_lengths,
        rejected_lengths=rejected_lengths,
        beta=2.0,
        gamma=0.5,
    )
    torch.testing.assert_close(ours.losses, expected, rtol=1e-14, atol=0)
    assert_same(ours.losses.sum(), expected.sum(), logps, within=1e-14)
    torch.testing.assert_close(ours[1:], tuple(rewards), rtol=1e-15, atol=0)


def test_orpo():
    """TRL always computes in float32, and adds the NLL elsewhere, so only its odds ratio is compared."""
    logps, _, lengths, _ = pairs(torch.float32)
    averages = logps.sum(-1) / lengths
    theirs = trainer(ORPOTrainer, beta=0.6)
    expected, *rewards, _, _ = theirs.odds_ratio_loss(*averages.chunk(2))
    ours = orpo(logps, lengths)
    odds_term = ours.losses + averages.chunk(2)[0]
    torch.testing.assert_close(odds_term, -expected, rtol=0, atol=1e-6)
    assert_same(odds_term.sum(), -expected.sum(), logps, within=1e-6)
    for mine, his in zip(ours[1:], rewards, strict=True):  # log odds, and λ log p: in the same order
        assert torch.equal(mine.argsort(), his.argsort())


def orpo(logps, lengths):
    (chosen, rejected), (chosen_lengths, rejected_lengths) = logps.sum(-1).chunk(2), lengths.chunk(2)
    settings = {"chosen_lengths": chosen_lengths, "rejected_lengths": rejected_lengths, "odds_weight": 0.6}
    return orpo_loss(chosen, rejected, **settings)


@pytest.mark.parametrize("certain", [0, 1], ids=["chosen", "rejected"])
def test_orpo_where_trl_is_nan(certain):
    """A token probability that rounds to 1, as in any learned short completion, breaks TRL's training."""
    logps = torch.full((2, 1), -1.0)
    logps[certain] = 0.0
    logps.requires_grad_()
    theirs = -trainer(ORPOTrainer, beta=0.6).odds_ratio_loss(*logps.sum(-1).chunk(2))[0]
    ours = orpo(logps, torch.tensor([1, 1])).losses
    assert not torch.autograd.grad(theirs.sum(), logps)[0].isfinite().all()
    assert ours.isfinite().all()
    assert torch.autograd.grad(ours.sum(), logps)[0].isfinite().all()
