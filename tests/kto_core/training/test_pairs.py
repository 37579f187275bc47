"""Training on pairs: the pairs read, the step against a naive one in float64, and the outputs of a run."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_core import KTOConfig, PairConfig, TrainingError, train_pairs
from kto_core.data.datasets import LABELLED, Rows, TrainingSet
from kto_core.data.preferences import read_pairs
from kto_core.data.tokenization import Encoder
from kto_core.models.logps import CompletionLogps
from kto_core.models.model_folders import load, weights_hash
from kto_core.models.optimization import make_accelerator
from kto_core.training.pairs import ReadyPair, accumulate
from tests.kto_core.toy import prompt, toy_rows, with_figures, write_training_set

FAST = {"steps": 4, "batch_pairs": 4, "learning_rate": 1e-3, "beta": 0.5}


def read(folder):
    return json.loads((folder / "training.json").read_text())


def write_pairs(folder, pairs, split="train"):
    """`preferences/` of (topic, number, chosen, rejected)."""
    (folder / "preferences").mkdir(exist_ok=True)
    rows = [
        {
            "prompt": prompt(topic, n), "chosen": good, "rejected": bad, "category": topic, "ticket_id": f"p{n}",
            "row_id": f"p{n}#sent", "rejected_row_id": f"p{n}",
        }
        for topic, n, good, bad in pairs
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "preferences" / f"{split}-00000.parquet")
    return folder


@pytest.fixture(scope="module")
def train(reference, training_set, tmp_path_factory):
    home = tmp_path_factory.mktemp("pairs")

    def run(*, training_set=training_set, cache=home / "cache", store=home / "models", report=None, **settings):
        given = {**FAST, **settings}
        if given.get("objective") == "orpo":
            del given["beta"]
        more = {"report": report, "checkpoint_seconds": 0.0} if report else {}
        return train_pairs(
            reference=reference, training_set=training_set, config=PairConfig(**given), store=store, cache=cache, **more
        )

    return run


def row(number, label, at):
    completion = f"answer {at}" if at % 7 else " "
    values = (prompt("refund", number), completion, label, 1.0, None, None, f"t{number}", f"r{at}")
    return dict(zip(LABELLED.names, values, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=25))
def test_every_row_of_a_choice_set_is_in_a_pair_and_no_prompt_outweighs_its_rows(drawn):
    table = pa.Table.from_pylist([row(*one, at) for at, one in enumerate(drawn, start=1)], schema=LABELLED)
    rows = Rows(table=table, refused={})
    pairs = read_pairs(TrainingSet(folder=Path("nowhere"), manifest={}, version="v"), "train", rows)
    blank = {at for at in range(1, len(drawn) + 1) if not at % 7}
    found = pairs.table.to_pylist()
    for number in range(5):
        good = {f"answer {at}" for at, (n, label) in enumerate(drawn, start=1) if n == number and label}
        bad = {f"answer {at}" for at, (n, label) in enumerate(drawn, start=1) if n == number and not label}
        here = [(p["chosen"], p["rejected"]) for p in found if p["prompt"] == prompt("refund", number)]
        if not good or not bad:
            assert not here
            continue
        assert len(here) == len(set(here)) <= max(len(good), len(bad))
        assert {chosen for chosen, _ in here} <= good
        assert {rejected for _, rejected in here} <= bad
        if not blank:
            assert {chosen for chosen, _ in here} == good
            assert {rejected for _, rejected in here} == bad
            assert len(here) == max(len(good), len(bad))


def test_stated_pairs_come_first_and_those_that_cannot_teach_are_counted(tmp_path):
    folder = write_training_set(tmp_path, toy_rows(40), [])
    stated = [
        ("refund", 900, "yes", "no"), ("refund", 900, "yes", "no"), ("refund", 901, "a", "b"),
        ("refund", 901, "b", "a"), ("refund", 902, "same", "same"), ("refund", 903, " ", "no"),
    ]  # fmt: skip
    data = TrainingSet.open(write_pairs(folder, stated))
    pairs = read_pairs(data, "train", data.rows("train"))
    assert pairs.preferred == 1
    assert pairs.table["chosen"][0].as_py() == "yes"
    assert len(pairs) > 1, "the toy's rows make choice sets"
    assert pairs.refused == {
        "preferred one way and the other": 2,
        "chosen and rejected are the same text": 1,
        "empty completion": 1,
    }


def naive_loss(config, chosen, rejected, known, lengths):
    """The papers' formulas for one pair, implemented again."""
    policy, beta = torch.stack([chosen, rejected]), config.beta
    ratios = policy - torch.tensor(known, dtype=policy.dtype)
    if config.objective == "dpo":
        return -torch.log(1 / (1 + torch.exp(-beta * (ratios[0] - ratios[1]))))
    if config.objective == "ipo":
        return (ratios[0] - ratios[1] - 1 / (2 * beta)) ** 2
    means = policy / torch.tensor(lengths, dtype=policy.dtype)
    if config.objective == "simpo":
        return -torch.log(1 / (1 + torch.exp(-(beta * means[0] - beta * means[1] - config.gamma))))
    odds = torch.exp(means) / (1 - torch.exp(means))
    return -means[0] - config.odds_weight * torch.log(1 / (1 + odds[1] / odds[0]))


@pytest.mark.usefixtures("norms_in_float64")
@pytest.mark.parametrize("objective", ["dpo", "ipo", "orpo", "simpo"])
@pytest.mark.parametrize("batch_tokens", [1, 10_000], ids=["a pair a pass", "all in one"])
def test_the_step_is_that_of_one_padless_forward_a_completion(reference, objective, batch_tokens):
    """Loss and every parameter's gradient to 1e-10 in float64, over ragged lengths, however pairs share passes."""
    model, tokenizer = load(reference)
    model = model.double()
    encoder = Encoder(tokenizer, max_prompt_tokens=30, max_completion_tokens=8)
    said = [("hello, it is on its way", "no"), ("hi", "go away with your refund, not my problem"), ("yes", "no no no")]
    pairs = []
    for number, both in enumerate(said):
        one, two = encoder.encode([(prompt("refund", 10**number), text) for text in both])
        pairs.append(
            ReadyPair(chosen=one, rejected=two, reference_logps=(-3.0 - number, -7.5 + number), weight=0.5 + number)
        )
    config = PairConfig(objective=objective, batch_tokens=batch_tokens)

    figures = accumulate(CompletionLogps(model), pairs, config, make_accelerator("float32"))
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    losses = []
    for pair in pairs:
        rows = (pair.chosen, pair.rejected)
        logps = []
        for encoded in rows:
            ids = torch.tensor(encoded.ids.astype("int64"))
            every = model(input_ids=ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
            logps.append(every[encoded.start - 1 :].sum())
        lengths = [encoded.completion_tokens for encoded in rows]
        losses.append(pair.weight * naive_loss(config, *logps, pair.reference_logps, lengths))
    mean = torch.stack(losses).mean()
    mean.backward()
    assert figures["loss"] == pytest.approx(mean.item(), abs=1e-10)
    for name, parameter in model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, rtol=0, atol=1e-10), name


@pytest.mark.parametrize("objective", ["dpo", "ipo", "orpo", "simpo"])
def test_pairs_come_into_order_and_the_folder_says_how(train, objective, tmp_path):
    with with_figures():
        folder = train(objective=objective, steps=20, learning_rate=1e-2, cache=tmp_path / "cache")
    metrics = pq.read_table(folder / "metrics.parquet").to_pylist()
    assert metrics[-1]["margin"] > metrics[0]["margin"]
    assert metrics[-1]["accuracy"] > 0.7
    training = read(folder)
    assert training["kind"] == objective
    assert training["weights_hash"] == weights_hash(folder)
    assert training["pairs"]["from_preferences"] == 0
    assert training["pairs"]["seen"] == training["pairs"]["given"] == training["pairs"]["from_choice_sets"]
    assert (training["reference_cache"]["computed"] == 0) == (objective in ("orpo", "simpo"))
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    if objective == "dpo":
        assert metrics[0]["reward_chosen"] == pytest.approx(0, abs=1e-3), "the policy starts as the reference"
        assert 0.25 * math.log(2) < metrics[0]["loss"] < math.log(2), "rows of the toy weigh 0.5 or 1"


def test_a_finished_folder_is_reused_and_a_warm_cache_computes_nothing(train, tmp_path):
    first = train()
    assert train() == first
    again = train(store=tmp_path / "again")
    assert weights_hash(again) == weights_hash(first)
    other = train(store=tmp_path / "other", beta=0.1, lora_rank=2, batch_tokens=64)
    assert read(other)["reference_cache"] == {"computed": 0}


def test_activations_computed_again_give_the_same_step(train, tmp_path):
    kept, again = (train(store=tmp_path, gradient_checkpointing=given) for given in (False, True))
    assert kept != again
    figures = [pq.read_table(folder / "metrics.parquet").to_pylist() for folder in (kept, again)]
    for one, other in zip(*figures, strict=True):
        assert (one["loss"], one["grad_norm"]) == pytest.approx((other["loss"], other["grad_norm"]), abs=1e-5)


def test_a_stopped_run_ends_with_the_weights_that_it_would_have_had(train, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(stage, done, total, unit, **figures):
        if (stage, done) == ("dpo", 4):
            raise StoppedError

    with pytest.raises(StoppedError):
        train(store=tmp_path, report=stop)
    resumed = train(store=tmp_path)
    assert read(resumed)["checkpoints"]["resumed_after"] == 3
    assert weights_hash(resumed) == weights_hash(train())


def test_a_set_without_pairs_is_refused_with_counts(train, tmp_path):
    rows = [one | {"prompt": prompt("refund", at)} for at, one in enumerate(toy_rows(20))]
    folder = write_training_set(tmp_path / "set", rows, [], version="single")
    with pytest.raises(TrainingError, match=r"has no pairs to train on \(no pairs at all\)") as refusal:
        train(training_set=folder)
    assert "\n" not in str(refusal.value)
    with pytest.raises(TrainingError, match=r"\(empty completion: 1\)"):
        train(training_set=write_pairs(folder, [("refund", 900, "fine", "")]))


def test_settings_are_those_of_the_papers_or_of_a_kto_run():
    assert (PairConfig().beta, PairConfig(objective="ipo").beta) == (0.1, 0.1)
    simpo, orpo = PairConfig(objective="simpo"), PairConfig(objective="orpo")
    assert (simpo.beta, simpo.gamma, orpo.beta, orpo.odds_weight) == (2.0, 1.0, None, 0.1)
    kto = KTOConfig(
        beta=0.7, learning_rate=3e-4, group_rows=6, batch_groups=5, lora_rank=2, seed=3, gradient_checkpointing=True
    )
    like = PairConfig.like(kto, steps=9)
    assert (like.beta, like.learning_rate, like.batch_pairs, like.lora_rank, like.seed, like.steps) == (
        0.7, 3e-4, 15, 2, 3, 9,
    )  # fmt: skip
    assert like.gradient_checkpointing
    assert PairConfig.like(kto, steps=9, objective="simpo").beta == 2.0
    assert PairConfig.like(kto, steps=9, beta=0.1).beta == 0.1
    for config in (like, simpo, orpo):
        assert PairConfig.from_dict(config.to_dict()) == config
        assert config.replace(seed=1).beta == config.beta
    with pytest.raises(TrainingError, match="gamma has no effect on dpo, which reads beta"):
        PairConfig(gamma=1.0)
    with pytest.raises(TrainingError, match="must be one of 'dpo', 'ipo', 'orpo', 'simpo', not 'ppo'"):
        PairConfig(objective="ppo")
