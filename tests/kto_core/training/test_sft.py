import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from kto_core import SFTConfig, TrainingError, train_sft
from kto_core.models.model_folders import load, weights_hash
from kto_core.training.sft import plan_batches
from tests.kto_core.toy import TOY

FAST = SFTConfig(steps=3, batch_rows=8, tiny=TOY)


def read(folder):
    return json.loads((folder / "training.json").read_text())


def test_it_learns_and_writes_what_it_did(reference):
    training = read(reference)
    assert training["metrics"]["loss_last"] < 0.75 * training["metrics"]["loss_first"]
    assert training["weights_hash"] == weights_hash(reference)
    assert training["inputs"]["model"] == "tiny"
    assert training["rows"]["given"] == 240
    metrics = pq.read_table(reference / "metrics.parquet")
    assert metrics.num_rows == 25
    assert training["metrics"]["step_seconds"] == pytest.approx(sum(metrics["seconds"].to_pylist()))
    assert training["metrics"]["step_seconds"] < training["metrics"]["seconds"], "which holds all that is not a step"
    assert (reference / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not list(reference.glob("*.bin"))


def test_the_same_inputs_give_the_same_weights_and_are_reused(corpus, tmp_path):
    first = train_sft(model="tiny", rows=corpus, config=FAST, store=tmp_path / "a")
    again = train_sft(model="tiny", rows=corpus, config=FAST, store=tmp_path / "b")
    assert first.name == again.name
    assert weights_hash(first) == weights_hash(again)
    stages = []
    reused = train_sft(
        model="tiny", rows=corpus, config=FAST, store=tmp_path / "a", report=lambda *a, **_: stages.append(a)
    )
    assert reused == first
    assert stages == [("sft", 1, 1, "folder reused")]
    assert [p.name for p in (tmp_path / "a").iterdir()] == [first.name]


def test_a_run_that_was_ended_goes_on_from_its_checkpoint(corpus, tmp_path):
    config = SFTConfig(steps=6, batch_rows=8, tiny=TOY)
    places = {"model": "tiny", "rows": corpus, "config": config}
    whole = train_sft(**places, store=tmp_path / "at once")

    class PowerCutError(Exception):
        pass

    def cut(stage, done, total, unit, **figures):
        if (stage, done) == ("sft", 4):
            raise PowerCutError

    store = tmp_path / "in two"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr("kto_core.training.sft.Paced", lambda report: report)
        train_sft(**places, store=store, checkpoint_seconds=0, report=cut)
    resumed = train_sft(**places, store=store)
    assert weights_hash(resumed) == weights_hash(whole)
    assert read(resumed)["checkpoints"] == {"resumed_after": 3, "torn": []}
    assert list(store.iterdir()) == [resumed]


def test_another_seed_gives_other_weights(corpus, reference, tmp_path):
    other = SFTConfig.from_dict(read(reference)["config"] | {"seed": 1, "steps": 1})
    folder = train_sft(model="tiny", rows=corpus, config=other, store=tmp_path)
    assert weights_hash(folder) != weights_hash(reference)


def test_no_steps_take_a_folder_as_it_is(reference, tmp_path):
    folder = train_sft(model=reference, rows=None, config=SFTConfig(steps=0), store=tmp_path)
    assert weights_hash(folder) == weights_hash(reference)
    assert read(folder)["metrics"]["steps"] == 0
    assert not (folder / "curve.png").exists()


def test_lora_is_merged_into_plain_weights(reference, corpus, tmp_path):
    config = SFTConfig(steps=3, batch_rows=8, lora_rank=2, learning_rate=1e-2)
    folder = train_sft(model=reference, rows=corpus, config=config, store=tmp_path)
    before, after = (load(place)[0].state_dict() for place in (reference, folder))
    assert before.keys() == after.keys()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all("_proj" in name for name in changed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a device that computes in float16")
def test_float16_is_refused_where_it_would_be_float32(corpus, tmp_path):
    config = SFTConfig(steps=2, batch_rows=4, tiny=TOY, precision="float16")
    with pytest.raises(TrainingError, match="float16 is not supported on cpu; set precision to bfloat16"):
        train_sft(model="tiny", rows=corpus, config=config, store=tmp_path)


def test_precision_bfloat16_trains_float32_weights(corpus, tmp_path):
    config = SFTConfig(steps=2, batch_rows=4, tiny=TOY, precision="bfloat16")
    folder = train_sft(model="tiny", rows=corpus, config=config, store=tmp_path)
    assert {str(t.dtype) for t in load(folder)[0].state_dict().values()} == {"torch.float32"}
    assert np.isfinite(read(folder)["metrics"]["loss_last"])


@pytest.mark.parametrize("saves", [{"batch_tokens": 40}, {"gradient_checkpointing": True}])
def test_what_saves_memory_learns_the_same(saves, corpus, tmp_path):
    whole, parts = (
        train_sft(
            model="tiny", rows=corpus, config=SFTConfig(steps=3, batch_rows=8, tiny=TOY, **settings), store=tmp_path
        )
        for settings in ({"batch_tokens": 10_000}, saves)
    )
    losses = [pq.read_table(folder / "metrics.parquet")["loss"].to_pylist() for folder in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_batches_meet_every_row_once_an_epoch():
    batches = plan_batches(np.arange(50), batch_rows=8, steps=14, seed=0)
    assert sorted(i for batch in batches[:7] for i in batch) == list(range(50))
    assert sorted(i for batch in batches[7:] for i in batch) == list(range(50))
    assert batches[:7] != batches[7:]


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        ("tiny", FAST, "SFT needs rows"),
        ("tiny", SFTConfig(steps=0), "preset 'tiny' learns its vocabulary from the SFT rows"),
        ("gigantic", SFTConfig(steps=0), r"model 'gigantic' is neither a preset \(tiny, smollm2\) nor a folder"),
    ],
)
def test_what_cannot_be_done_is_reported(model, config, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        train_sft(model=model, rows=None, config=config, store=tmp_path)
    assert not list(tmp_path.glob(".*")), "no scratch folder stays behind"


def test_an_unknown_tracker_and_a_context_too_short_are_reported(reference, corpus, tmp_path):
    with pytest.raises(TrainingError, match="tracker"):
        train_sft(model="tiny", rows=corpus, config=SFTConfig(steps=1, tiny=TOY, tracker="abacus"), store=tmp_path)
    with pytest.raises(TrainingError, match="exceed the model's 4096 positions"):
        train_sft(model=reference, rows=corpus, config=SFTConfig(steps=1, max_prompt_tokens=4000), store=tmp_path)
