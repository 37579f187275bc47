"""APO-zero as an objective of training: the step against a naive one, and no trace of KTO's z0."""

import json

import pyarrow.parquet as pq
import pytest
import torch

from kto_core import EvaluationConfig, KTOConfig, TrainingError, evaluate, run_sweep, train_kto, write_release
from kto_core.data.tokenization import Encoder
from kto_core.models.logps import GroupBatch, GroupLogps
from kto_core.models.model_folders import load, weights_hash
from kto_core.models.optimization import make_accelerator
from kto_core.reference.prepared_rows import ReadyRow
from kto_core.training.kto import _accumulate
from tests.kto_core.toy import prompt, with_figures

FAST = {
    "objective": "apo_zero", "max_steps": 3, "batch_groups": 2, "beta": 0.5, "learning_rate": 1e-3,
    "class_gradients_every": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def train(reference, training_set, tmp_path_factory):
    home = tmp_path_factory.mktemp("apo")

    def run(*, cache=home / "cache", store=home / "models", **settings):
        config = KTOConfig(**{**FAST, **settings})
        return train_kto(reference=reference, training_set=training_set, config=config, store=store, cache=cache)

    return run


@pytest.fixture(scope="module")
def candidate(train):
    with with_figures():
        return train(max_steps=None, epochs=2, learning_rate=3e-3)


def read(folder):
    return json.loads((folder / "training.json").read_text())


def groups_of(reference, *, mismatched):
    """Two groups of ragged rows, with a class of one and with weights."""
    model, tokenizer = load(reference)
    encoder = Encoder(tokenizer, max_prompt_tokens=30, max_completion_tokens=8)
    texts = [
        ("hello, it is on its way", "no", True), ("no", "hi", False), ("go away with your refund", "yes", False),
        ("hi", "not my problem at all", True), ("no no no", "hello", False),
    ]  # fmt: skip
    rows = []
    for number, (own, other, desirable) in enumerate(texts):
        one, two = encoder.encode([(prompt("refund", 10**number), text) for text in (own, other)])
        rows.append(
            ReadyRow(
                own=one,
                mismatched=two if mismatched else None,
                desirable=desirable,
                weight=0.5 + number,
                reference_logp=-20.0 - number,
                reference_kl_logp=-25.0 + number,
            )
        )
    return model.double(), [rows[:3], rows[3:]]


def alone(model, text):
    """Log-probabilities of one row's completion tokens, from a forward of it alone."""
    ids = torch.tensor(text.ids.astype("int64"))
    every = model(input_ids=ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
    return every[text.start - 1 :]


def naive_losses(model, group, config, lambdas):
    """The papers' formulas of a group's rows, implemented again."""
    ratios = torch.stack([alone(model, row.own).sum() - row.reference_logp for row in group])
    point = 0.0
    if config.objective == "kto":
        with torch.no_grad():
            drift = [alone(model, row.mismatched).sum() - row.reference_kl_logp for row in group]
            point = max(0.0, sum(drift).item() / len(drift))
    for row, ratio in zip(group, ratios, strict=True):
        good = 1 / (1 + torch.exp(-config.beta * (ratio - point)))
        yield row.weight * (lambdas[0] * (1 - good) if row.desirable else lambdas[1] * good)


@pytest.mark.usefixtures("norms_in_float64")
@pytest.mark.parametrize("objective", ["kto", "apo_zero"])
@pytest.mark.parametrize("batch_tokens", [1, 10_000], ids=["a group a pass", "all in one"])
@pytest.mark.parametrize("only", [None, True, False], ids=["both classes", "desirable", "undesirable"])
def test_the_step_is_that_of_one_padless_forward_a_row(reference, objective, batch_tokens, only):
    """Loss and every parameter's gradient to 1e-10 in float64, also of each class alone."""
    model, groups = groups_of(reference, mismatched=objective == "kto")
    config = KTOConfig(objective=objective, batch_tokens=batch_tokens, beta=0.3)
    lambdas, accelerator = (1.1, 1.7), make_accelerator("float32")
    figures = _accumulate(GroupLogps(model), groups, lambdas=lambdas, config=config, accelerator=accelerator, only=only)
    result = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    rows = [row for group in groups for row in group]
    losses = torch.stack([loss for group in groups for loss in naive_losses(model, group, config, lambdas)])
    counted = torch.tensor([only is None or row.desirable == only for row in rows])
    (losses[counted].sum() / len(rows)).backward()
    assert figures["loss"] == pytest.approx(losses.mean().item(), abs=1e-10)
    for name, parameter in model.named_parameters():
        assert torch.allclose(result[name], parameter.grad, rtol=0, atol=1e-10), name


def test_it_learns_and_its_folder_says_by_what(candidate):
    metrics = pq.read_table(candidate / "metrics.parquet").to_pylist()
    assert metrics[0]["margin"] == pytest.approx(0, abs=1e-3), "the policy starts as the reference"
    assert metrics[-1]["margin"] > 0.5
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert metrics[-1]["kl"] > 0
    assert {row[name] for row in metrics for name in ("z0", "z0_raw")} == {None}
    training = read(candidate)
    assert candidate.name.startswith("apo_zero-")
    assert (training["kind"], training["config"]["objective"]) == ("apo_zero", "apo_zero")
    assert training["weights_hash"] == weights_hash(candidate)
    assert (training["metrics"]["z0"], training["metrics"]["z0_raw"]) == (None, None)
    assert training["troubles"] == {}
    assert (candidate / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_no_mismatched_completion_is_computed_by_the_policy_or_the_reference(train, tmp_path, monkeypatch):
    passes = []
    forward = GroupLogps.forward
    monkeypatch.setattr(GroupLogps, "forward", lambda self, batch: passes.append(batch) or forward(self, batch))
    monkeypatch.setattr("kto_core.training.kto.mismatch", lambda *_: pytest.fail("nothing is borrowed"))
    record = read(train(store=tmp_path, cache=tmp_path, kl_prompts=0))
    assert record["reference_cache"] == {"reused": 0, "computed": record["rows"]["seen"]}
    trained = [batch for batch in passes if isinstance(batch, GroupBatch)]
    assert [batch.mismatched for batch in trained] == [None] * 3


def test_from_the_reference_its_first_step_is_ktos(train, reference, training_set, tmp_path):
    """At the start z0 is 0, so both objectives agree."""
    first, kto = (
        pq.read_table(train(max_steps=1, store=tmp_path, kl_prompts=0, objective=name) / "metrics.parquet").to_pylist()
        for name in ("apo_zero", "kto")
    )
    for name in ("loss", "grad_norm", "loss_desirable", "loss_undesirable"):
        assert first[0][name] == pytest.approx(kto[0][name], abs=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bfloat16"},
        {"lora_rank": 2, "gradient_checkpointing": True},
        {"balance": "lambda", "class_gradients_every": 1},
        {"batch_tokens": 16},
    ],
)
def test_other_settings_mean_what_they_mean_for_kto(train, settings):
    plain, other = (
        pq.read_table(train(kl_prompts=0, **options) / "metrics.parquet").to_pylist() for options in ({}, settings)
    )
    if "balance" in settings:
        assert all(row["grad_norm_desirable"] > 0 for row in other)
        return
    same = ("loss", "margin") if "lora_rank" in settings else ("loss", "margin", "grad_norm")
    rounds = 0.05 if "precision" in settings else 1e-5
    for name in same:
        assert other[0][name] == pytest.approx(plain[0][name], abs=rounds, rel=rounds)


def test_a_stopped_run_ends_with_the_weights_that_it_would_have_had(train, reference, training_set, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(stage, done, total, unit, **figures):
        if (stage, done) == ("apo_zero", 3):
            raise StoppedError

    places = {"reference": reference, "training_set": training_set, "store": tmp_path, "cache": tmp_path / "cache"}
    options = {**places, "config": KTOConfig(**FAST), "checkpoint_seconds": 0.0}
    with pytest.raises(StoppedError):
        train_kto(**options, report=stop)
    resumed = train_kto(**options)
    assert read(resumed)["checkpoints"]["resumed_after"] == 2
    assert weights_hash(resumed) == weights_hash(train())


def test_it_is_measured_and_released_under_its_name(candidate, reference, training_set, tmp_path):
    figures = evaluate(
        reference=reference, candidate=candidate, training_set=training_set, config=EvaluationConfig(), cache=tmp_path
    )
    assert figures["beta"] == FAST["beta"]
    assert figures["reward_margin"] > 0
    folder = write_release(
        candidate=candidate, training_set=training_set, evaluation=figures, releases=tmp_path / "releases"
    )
    assert folder.name.startswith("apo_zero-01234567-")
    card = (folder / "README.md").read_text()
    assert "tags: [apo_zero, feedback-kto]" in card
    assert "A support copilot trained by APO-zero on what" in card
    assert f"| APO-zero | {read(candidate)['metrics']['steps']} steps, β 0.5, λ_D 1.0" in card
    assert "KTO |" not in card


def test_a_sweep_goes_by_kl_and_keeps_the_best_candidate_alone(reference, training_set, tmp_path):
    config = KTOConfig(**FAST).replace(max_steps=1, kl_prompts=4)
    result = run_sweep(
        reference=reference, training_set=training_set, config=config, space={"beta": (0.2, 1.0)},
        evaluation=EvaluationConfig(), cache=tmp_path / "cache", out=tmp_path,
    )  # fmt: skip
    assert result["distance"] == "kl"
    assert {trial["z0"] for trial in result["trials"]} == {None}
    kept = list((tmp_path / result["folder"] / "trials").glob("*/apo_zero-*"))
    assert [str(folder) for folder in kept] == [result["best"]["candidate"]]


def test_an_objective_on_pairs_is_none_of_single_rows():
    with pytest.raises(TrainingError, match=r"KTOConfig.objective must be one of 'kto', 'apo_zero', not 'dpo'"):
        KTOConfig(objective="dpo")
