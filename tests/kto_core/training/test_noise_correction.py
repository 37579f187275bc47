import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_core import KTOConfig, TrainingError, train_kto
from kto_core.base.store import read_json
from kto_core.data.datasets import LABELLED, Rows, TrainingSet
from kto_core.training.noise_correction import (
    FlipRates,
    correct,
    flip_rates,
    gains,
    measured_precision,
    unbiased_weights,
)
from kto_core.training.objectives import kto_loss
from tests.kto_core.toy import toy_rows, write_training_set

BETA = 0.7
MEASURED = {"desirable": 0.8, "undesirable": 0.9}

share = st.floats(0.02, 0.98)
sure = st.floats(0.51, 1.0)
# Zero or a weight that one could mean: below the smallest normal number, products round to zero on one side only.
weight = st.just(0.0) | st.floats(1e-6, 3.0)


def plain(ratios, desirable, *, weights):
    """KTO's losses at these log-ratios, with λ_D and λ_U."""
    logps = torch.tensor([ratio - 100 for ratio in ratios], dtype=torch.float64, requires_grad=True)
    losses = kto_loss(
        logps,
        torch.full((len(ratios),), -100.0, dtype=torch.float64),
        torch.tensor(desirable),
        z0=0.3,
        beta=BETA,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
    ).losses
    return logps, losses


def lemma_1(ratios, desirable, *, weights, rates):
    """Natarajan et al. 2013, Lemma 1, term by term, for KTO's loss: λ belongs to the true class of each term."""
    logps, own = plain(ratios, desirable, weights=weights)
    other_logps, other = plain(ratios, [not good for good in desirable], weights=weights)
    of = torch.tensor([rates.desirable if good else rates.undesirable for good in desirable], dtype=torch.float64)
    of_other = torch.tensor([rates.undesirable if good else rates.desirable for good in desirable], dtype=torch.float64)
    losses = ((1 - of_other) * own - of * other) / (1 - of - of_other)
    losses.sum().backward()
    return losses.detach(), logps.grad + other_logps.grad


@given(desirable=sure, undesirable=sure, share=share, weights=st.tuples(weight, weight))
@settings(max_examples=60, deadline=None)
def test_over_the_noise_the_estimator_is_the_loss_of_the_true_class(desirable, undesirable, share, weights):
    rates = flip_rates(desirable, undesirable, share=share)
    ratios = [-30.0, -2.0, 0.0, 0.3, 1.5, 40.0]
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * max(weights) / rates.kept}
    corrected = unbiased_weights(*weights, rates)
    for truth, flipped in ((True, rates.desirable), (False, rates.undesirable)):
        logps, clean = plain(ratios, [truth] * 6, weights=weights)
        clean.sum().backward()
        means, gradients, ours = (torch.zeros(6, dtype=torch.float64) for _ in range(3))
        for label, chance in ((truth, 1 - flipped), (not truth, flipped)):
            losses, gradient = lemma_1(ratios, [label] * 6, weights=weights, rates=rates)
            means += chance * losses
            gradients += chance * gradient
            noisy, as_trained = plain(ratios, [label] * 6, weights=corrected)
            as_trained.sum().backward()
            ours += chance * noisy.grad
        torch.testing.assert_close(means, clean.detach(), **tolerance)
        torch.testing.assert_close(gradients, logps.grad, **tolerance)
        torch.testing.assert_close(ours, logps.grad, **tolerance)


@given(desirable=sure, undesirable=sure, share=share, weights=st.tuples(weight, weight), label=st.booleans())
@settings(max_examples=60, deadline=None)
def test_for_kto_the_estimator_is_kto_with_other_weights(desirable, undesirable, share, weights, label):
    rates = flip_rates(desirable, undesirable, share=share)
    ratios = [-9.0, -0.4, 0.3, 2.0]
    theirs, gradient = lemma_1(ratios, [label] * 4, weights=weights, rates=rates)
    logps, ours = plain(ratios, [label] * 4, weights=unbiased_weights(*weights, rates))
    ours.sum().backward()
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * max(weights) / rates.kept}
    torch.testing.assert_close(logps.grad, gradient, **tolerance)
    constant = ours.detach() - theirs
    torch.testing.assert_close(constant, constant[:1].expand(4), **tolerance)
    assert min(unbiased_weights(*weights, rates)) >= 0


@given(share=share, weights=st.tuples(weight, weight))
def test_sure_labels_are_not_corrected(share, weights):
    rates = flip_rates(1.0, 1.0, share=share)
    assert rates == FlipRates(0.0, 0.0)
    assert unbiased_weights(*weights, rates) == weights


@given(precision=sure, other=sure, share=share)
def test_flip_rates_follow_from_what_the_labels_and_the_truth_jointly_are(precision, other, share):
    rates = flip_rates(precision, other, share=share)
    joint = {
        (True, True): share * precision,
        (False, True): share * (1 - precision),
        (True, False): (1 - share) * (1 - other),
        (False, False): (1 - share) * other,
    }  # (truth, label)
    good, bad = (joint[truth, True] + joint[truth, False] for truth in (True, False))
    assert math.isclose(good * (1 - rates.desirable), joint[True, True])
    assert math.isclose(bad * rates.undesirable, joint[False, True], abs_tol=1e-15)
    assert math.isclose(rates.kept, share * (1 - share) * (precision + other - 1) / (good * bad), abs_tol=1e-12)


@pytest.mark.parametrize(("good", "bad"), [(0.5, 0.5), (0.2, 0.8), (0.0, 0.4)])
def test_labels_that_say_nothing_are_refused(good, bad):
    with pytest.raises(TrainingError, match="no better than random labels"):
        flip_rates(good, bad, share=0.5)


def test_a_row_moves_as_much_as_its_label_is_more_right_than_wrong():
    np.testing.assert_allclose(gains(np.array([1.0, 0.9, 0.5, 0.2, np.nan])), [1, 0.8, 0, 0, 1])
    # The expectation over a label that is right with probability p, where λ_D = λ_U.
    for p in (0.55, 0.8, 1.0):
        logps, right = plain([-2.0, 0.1, 3.0], [True] * 3, weights=(1.4, 1.4))
        other, wrong = plain([-2.0, 0.1, 3.0], [False] * 3, weights=(1.4, 1.4))
        (p * right + 0).sum().backward()
        ((1 - p) * wrong).sum().backward()
        alone, loss = plain([-2.0, 0.1, 3.0], [True] * 3, weights=(1.4, 1.4))
        (gains(np.array([p]))[0] * loss).sum().backward()
        torch.testing.assert_close(logps.grad + other.grad, alone.grad)


def rows_of(*parts):
    """Rows (count, label, weight, precision)."""
    listed = [
        {
            "prompt": [{"role": "user", "content": "?"}],
            "completion": "!",
            "label": label,
            "weight": weight,
            "precision": precision,
            "ticket_id": "t",
            "row_id": "r",
        }
        for count, label, weight, precision in parts
        for _ in range(count)
    ]
    return Rows(table=pa.Table.from_pylist(listed, schema=LABELLED), refused={})


def test_shares_are_those_that_training_meets():
    rows = rows_of((60, True, 1.0, None), (20, False, 0.5, None))

    def shares(balance):
        config = KTOConfig(noise_correction="unbiased", balance=balance)
        return correct(rows, config, MEASURED).record["share_desirable"]

    assert shares("none") == pytest.approx(60 / 70)
    assert shares("oversample") == pytest.approx(1 / 1.5)  # as many rows of each class, of twice the weight
    assert shares("lambda") == shares("oversample")


def test_precision_is_that_of_what_training_weighs():
    rows = rows_of((10, True, 1.0, None), (10, False, 1.0, 1.0), (10, False, 0.25, 0.5), (10, False, 0.0, 0.1))
    record = correct(rows, KTOConfig(noise_correction="unbiased"), MEASURED).record
    assert record["precision"] == pytest.approx({"desirable": 0.8, "undesirable": 0.9})
    assert record["flip_rates"]["desirable"] > 0


def test_weights_are_kept_where_nothing_was_measured():
    rows = rows_of((3, True, 0.5, 0.75), (2, True, 0.5, None), (2, False, 1.0, 1.0), (1, False, 2.0, 0.3))
    found = correct(rows, KTOConfig(noise_correction="weight"), {})
    assert found.rows.weights().tolist() == [0.25] * 3 + [0.5] * 2 + [1.0] * 2 + [0.0]
    assert found.record["rows_measured"] == 6
    assert found.record["weight_kept"] == pytest.approx({"desirable": 0.7, "undesirable": 0.5})


@pytest.mark.parametrize(
    ("correction", "rows", "measured", "message"),
    [
        (
            "weight",
            rows_of((2, True, 1.0, None), (2, False, 1.0, None)),
            MEASURED,
            "no row has one; let people read more",
        ),
        ("weight", rows_of((2, True, 1.0, 0.5), (2, False, 1.0, 0.9)), {}, "no desirable row has a label"),
        ("unbiased", rows_of((2, True, 1.0, None), (2, False, 1.0, None)), {"desirable": 0.9}, "undesirable labels"),
        ("unbiased", rows_of((2, True, 0.0, None), (2, False, 1.0, None)), MEASURED, "a weight above 0"),
        (
            "unbiased",
            rows_of((2, True, 1.0, None), (2, False, 1.0, None)),
            {"desirable": 0.4, "undesirable": 0.6},
            "random labels",
        ),
    ],
)
def test_what_cannot_be_corrected_is_refused(correction, rows, measured, message):
    with pytest.raises(TrainingError, match=message):
        correct(rows, KTOConfig(noise_correction=correction), measured)


def test_a_manifest_may_lack_an_audit_but_not_hold_nonsense():
    assert measured_precision({}) == {}
    figures = {"precision": 0.9, "low": 0.8, "high": 0.95, "read": 200}
    manifest = {"audit": {"precision": {"desirable": figures, "undesirable": {**figures, "precision": None}}}}
    assert measured_precision(manifest) == {"desirable": 0.9}
    figures["precision"] = 90
    with pytest.raises(TrainingError, match=r"audit\.precision\.desirable is 90"):
        measured_precision(manifest)


def noisy_set(folder, *, precision, audit):
    """A toy training set whose manifest and rows contain the precision of an audit."""
    rows = [{**row, "precision": precision} for row in toy_rows(64, seed=1)]
    path = write_training_set(folder, rows, toy_rows(20, seed=2))
    manifest = read_json(path / "manifest.json")
    figures = {side: {"precision": value, "low": 0.0, "high": 1.0, "read": 200} for side, value in audit.items()}
    (path / "manifest.json").write_text(json.dumps(manifest | {"audit": {"precision": figures}}))
    return path


def test_a_run_is_corrected_and_another_audit_is_another_run(reference, tmp_path):
    def train(folder, correction, **settings):
        config = KTOConfig(max_steps=3, kl_prompts=0, noise_correction=correction, **settings)
        found = train_kto(
            reference=reference, training_set=folder, config=config, store=tmp_path / "models", cache=tmp_path / "cache"
        )
        return found.name, read_json(found / "training.json")

    sure = noisy_set(tmp_path / "sure", precision=1.0, audit={"desirable": 1.0, "undesirable": 1.0})
    runs = {name: train(sure, name) for name in ("none", "weight", "unbiased")}
    assert len({name for name, _ in runs.values()}) == 3
    assert len({record["weights_hash"] for _, record in runs.values()}) == 1  # bit for bit

    doubted = noisy_set(tmp_path / "doubted", precision=0.75, audit={"desirable": 0.7, "undesirable": 0.9})
    name, record = train(doubted, "unbiased")  # the rows' version is the same: the audit is what differs
    assert name != runs["unbiased"][0]
    applied = record["applied"]
    rates = FlipRates(**record["noise"]["flip_rates"])
    assert unbiased_weights(1.0, 1.8, rates) == tuple(applied.values())
    assert train(doubted, "unbiased")[0] == name
    assert train(sure, "none")[0] == runs["none"][0]
    # The estimator is KTO with these λ: given by hand, they train the same weights.
    _, by_hand = train(doubted, "none", **applied)
    assert by_hand["weights_hash"] == record["weights_hash"]
    with pytest.raises(TrainingError, match="was not measured"):
        train(noisy_set(tmp_path / "unread", precision=None, audit={}), "unbiased")


def test_an_older_training_set_knows_no_precision(training_set):
    assert np.isnan(TrainingSet.open(training_set).rows("train").precision()).all()


def test_a_precision_that_is_no_share_is_refused(tmp_path):
    rows = [
        {**row, "precision": precision} for row, precision in zip(toy_rows(8), (0.0, 1.0, 0.7, 80.0) * 2, strict=True)
    ]
    found = TrainingSet.open(write_training_set(tmp_path / "set", rows, rows)).rows("train")
    assert found.refused == {"precision not between 0 and 1": 2}
