import itertools
import json
from contextlib import nullcontext

import pyarrow.parquet as pq
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from kto_core import KTOConfig, PairConfig, TrainingError, train_kto, train_pairs
from kto_core.models.logps import Batch, GroupBatch, GroupLogps
from kto_core.models.model_folders import load, weights_hash
from tests.kto_core.toy import toy_rows, with_figures, write_training_set

FAST = {"max_steps": 3, "batch_groups": 2, "beta": 0.5, "learning_rate": 1e-3, "class_gradients_every": 0}


def read(folder):
    return json.loads((folder / "training.json").read_text())


@pytest.fixture(scope="module")
def train(reference, training_set, tmp_path_factory):
    home = tmp_path_factory.mktemp("kto")

    def run(*, training_set=training_set, cache=home / "cache", store=home / "models", drawn=False, **settings):
        config = KTOConfig(**(FAST | settings))
        with with_figures() if drawn else nullcontext():
            return train_kto(reference=reference, training_set=training_set, config=config, store=store, cache=cache)

    return run


@pytest.fixture(scope="module")
def candidate(train):
    return train(max_steps=None, epochs=2, learning_rate=3e-3, drawn=True)


def test_desirable_rewards_rise_above_undesirable_ones(candidate):
    metrics = pq.read_table(candidate / "metrics.parquet").to_pylist()
    assert metrics[0]["margin"] == pytest.approx(0, abs=1e-3), "the policy starts as the reference"
    assert metrics[0]["z0_raw"] == pytest.approx(0, abs=1e-3)
    assert metrics[-1]["margin"] > 0.5
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert all(row["rows_desirable"] == row["rows_undesirable"] == 8 for row in metrics)
    training = read(candidate)
    assert training["rows"]["share_seen"] == 1.0
    assert training["weights_hash"] == weights_hash(candidate)
    assert (candidate / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_first_loss_is_the_formulas(candidate):
    """With π = π_ref every row costs w·λ/2 for any β."""
    first = pq.read_table(candidate / "metrics.parquet").to_pylist()[0]
    assert first["loss_desirable"] <= 0.5
    assert 0.25 <= first["loss_desirable"] / 1.0 <= 0.5
    assert 0.45 <= first["loss_undesirable"] <= 0.9


def test_the_same_seed_gives_the_same_weights_and_a_complete_folder_is_reused(train, tmp_path):
    first = train()
    assert train() == first
    again = train(store=tmp_path)
    assert again.name == first.name
    assert weights_hash(again) == weights_hash(first)
    assert train(seed=1) != first


def test_a_cold_cache_computes_what_a_warm_one_reuses(train, tmp_path):
    cold = train(store=tmp_path / "cold", cache=tmp_path / "cache")
    calls = []
    forward = GroupLogps.forward

    def counted(self, batch):
        calls.append((type(batch), self.training))
        return forward(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GroupLogps, "forward", counted)
        warm = train(store=tmp_path / "warm", cache=tmp_path / "cache", beta=0.1, undesirable_weight=1.0, lora_rank=2)
    cache = read(cold)["reference_cache"]
    assert cache["reused"] == 0
    assert 1.5 < cache["computed"] / read(cold)["rows"]["seen"] <= 2, "y' that another row of the prompt has is known"
    assert read(warm)["reference_cache"] == {"reused": cache["computed"], "computed": 0}
    # With a warm cache only training runs the model, a step's groups together, and then the held-out replies.
    assert calls == [(GroupBatch, True)] * 3 + [(Batch, False)]


def test_only_other_texts_need_the_reference_again(train, tmp_path):
    rows = [row | {"completion": f"{row['completion']} {row['row_id']}"} for row in toy_rows(404, seed=1)]
    first = write_training_set(tmp_path / "first", rows[4:], [], version="first")
    later = write_training_set(tmp_path / "later", rows, [], version="later")
    every = {"max_steps": None, "cache": tmp_path / "cache", "batch_groups": 25}
    for training_set, settings, reused in (
        (first, {}, 0.0),
        (first, {"group_rows": 16, "batch_groups": 10, "seed": 7, "balance": "none", "lora_rank": 2}, 1.0),
        (later, {}, 0.95),
    ):
        made = train(training_set=training_set, store=tmp_path / "models", **(every | settings))
        cache = read(made)["reference_cache"]
        share = cache["reused"] / sum(cache.values())
        assert share >= reused if reused == 0.95 else share == reused


def test_lora_leaves_plain_weights_that_differ(train, reference):
    folder = train(lora_rank=2, learning_rate=1e-2)
    before, after = (load(place)[0].state_dict() for place in (reference, folder))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)
    assert not list(folder.glob("adapter*"))


@pytest.mark.parametrize("settings", [{"balance": "lambda"}, {"balance": "none"}, {"precision": "bfloat16"}])
def test_other_ways_run(train, settings):
    training = read(train(**settings))
    assert training["metrics"]["steps"] == 3
    if settings.get("balance") == "lambda":
        rows, applied = training["rows"], training["applied"]
        mass = applied["desirable_weight"] * rows["desirable"] / (applied["undesirable_weight"] * rows["undesirable"])
        assert mass == pytest.approx(1.0 / 1.8)


def test_bounded_steps_say_what_share_they_saw(train):
    rows = read(train(max_steps=1, batch_groups=1))["rows"]
    assert rows["seen"] == 8
    assert rows["share_seen"] == pytest.approx(8 / 160)


def test_weight_zero_everywhere_leaves_the_reference(train, reference, tmp_path):
    rows = [row | {"weight": 0.0} for row in toy_rows(40, seed=1)]
    folder = train(training_set=write_training_set(tmp_path / "set", rows, [], version="zero"), store=tmp_path)
    assert weights_hash(folder) == weights_hash(reference)


def test_each_classes_gradient_is_measured_and_changes_nothing(train, reference, training_set, tmp_path):
    often, never = (train(class_gradients_every=every, store=tmp_path / str(every)) for every in (2, 0))
    assert weights_hash(often) == weights_hash(never)
    first, second, third = pq.read_table(often / "metrics.parquet").to_pylist()
    assert second["grad_norm_desirable"] is None
    for figures in (first, third):
        good, bad, whole = (figures[f"grad_norm{side}"] for side in ("_desirable", "_undesirable", ""))
        assert good > 0
        assert bad > 0
        assert abs(good - bad) - 1e-6 <= whole <= good + bad + 1e-6, "the parts add up to the whole, as vectors"
    # With λ_D = 0, the whole gradient is the undesirable rows'.
    one_sided = train(desirable_weight=0.0, class_gradients_every=1, store=tmp_path / "one-sided")
    for figures in pq.read_table(one_sided / "metrics.parquet").to_pylist():
        assert figures["grad_norm_desirable"] == 0
        assert figures["grad_norm_undesirable"] == pytest.approx(figures["grad_norm"], rel=1e-6)


def test_the_distance_from_the_reference_grows_on_held_out_prompts(candidate, train, tmp_path):
    metrics = pq.read_table(candidate / "metrics.parquet").to_pylist()
    measured = [(row["step"], row["kl"]) for row in metrics if row["kl"] is not None]
    assert [step for step, _ in measured] == [len(metrics) // 2, len(metrics)], "an epoch each"
    assert 0 < measured[0][1] < measured[1][1]
    assert read(candidate)["metrics"]["kl"] == measured[1][1]
    # One that goes nowhere is at the reference, but for rounding.
    still = pq.read_table(train(learning_rate=1e-12, store=tmp_path) / "metrics.parquet").to_pylist()
    assert still[-1]["kl"] == pytest.approx(0, abs=1e-4)


WAYS = list(itertools.product([False, True], [16, 4096], ["float32", "bfloat16"], [0, 2]))


@pytest.mark.parametrize(("checkpointing", "batch_tokens", "precision", "lora_rank"), WAYS)
def test_settings_combine(train, checkpointing, batch_tokens, precision, lora_rank):
    """Memory-saving settings give the same steps: groups one by one or together, activations kept or computed again."""
    common = {"precision": precision, "lora_rank": lora_rank, "max_steps": 2, "learning_rate": 1e-2, "kl_prompts": 0}
    plain = pq.read_table(train(**common) / "metrics.parquet").to_pylist()
    other = train(**common, gradient_checkpointing=checkpointing, batch_tokens=batch_tokens)
    tolerance = 1e-5 if precision == "float32" else 0.05
    for mine, theirs in zip(pq.read_table(other / "metrics.parquet").to_pylist(), plain, strict=True):
        for name in ("loss", "z0_raw", "grad_norm", "reward_desirable", "reward_undesirable"):
            assert mine[name] == pytest.approx(theirs[name], abs=tolerance, rel=tolerance)


def test_a_run_in_trouble_says_so_and_can_be_stopped(train, tmp_path, caplog):
    wild = {"max_steps": 15, "epochs": 2, "learning_rate": 0.2, "schedule": "constant", "warmup": 0.0}
    full = read(train(**wild, store=tmp_path / "full"))
    trouble = full["troubles"]["both rewards fall"]
    assert trouble["step"] == 10
    assert [record.getMessage() for record in caplog.records] == [f"step 10: {trouble['what']}"]
    stopped = read(train(**wild, store=tmp_path / "stopped", stop_when_unhealthy=True))
    assert stopped["troubles"] == full["troubles"]
    assert stopped["metrics"]["steps"] == 10 < full["metrics"]["steps"] == 15
    last = pq.read_table(tmp_path / "stopped" / stopped["id"] / "metrics.parquet").to_pylist()[-1]
    assert last["kl"] == stopped["metrics"]["kl"] > 0, "where it ended, how far it had gone is measured"


def test_dropout_counts_for_no_reward(reference, training_set, tmp_path):
    tokenizer = load(reference)[1]
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2)).save_pretrained(
        tmp_path / "gpt2"
    )
    tokenizer.save_pretrained(tmp_path / "gpt2")
    places = {"reference": tmp_path / "gpt2", "training_set": training_set, "store": tmp_path, "cache": tmp_path}
    common = {"learning_rate": 1e-12, "beta": 1.0}
    by_kto = train_kto(**places, config=KTOConfig(**common, max_steps=1, kl_prompts=0, class_gradients_every=0))
    by_pairs = train_pairs(**places, config=PairConfig(**common, steps=1))
    for folder, sides in ((by_kto, ("desirable", "undesirable")), (by_pairs, ("chosen", "rejected"))):
        (first,) = pq.read_table(folder / "metrics.parquet").to_pylist()
        assert [first[f"reward_{side}"] for side in sides] == pytest.approx([0, 0], abs=1e-4)
    config = json.loads((by_kto / "config.json").read_text())
    assert config["attn_pdrop"] == 0.1, "the model is saved as it came"


def test_one_class_is_refused_before_any_model_is_loaded(train, tmp_path):
    rows = [row for row in toy_rows(40) if not row["label"]]
    with pytest.raises(TrainingError, match="no desirable row"):
        train(training_set=write_training_set(tmp_path / "set", rows, [], version="bad"), store=tmp_path)


def test_a_reference_that_is_no_model_is_named(training_set, tmp_path):
    for place, says in ((tmp_path / "nowhere", "neither a preset"), (tmp_path, "holds no \\*.safetensors")):
        with pytest.raises(TrainingError, match=says):
            train_kto(
                reference=place, training_set=training_set, config=KTOConfig(), store=tmp_path, cache=tmp_path / "c"
            )
