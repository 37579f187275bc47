"""A run that a real signal kills and that is started again, compared with a run that was not killed."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from kto_core import KTOConfig, TrainingError, train_kto
from kto_core.models.model_folders import weights_hash
from kto_core.models.optimization import make_accelerator, make_optimizer, make_schedule
from kto_core.training.checkpoints import Checkpoints, Trained
from tests.kto_core.processes import ended, start, train_until_killed
from tests.kto_core.toy import toy_rows, write_training_set

STEPS, KILLED_AFTER = 6, 4
WAYS = {
    "full": {"max_steps": STEPS},
    "lora": {"max_steps": STEPS, "lora_rank": 2, "warmup": 0.5, "schedule": "cosine"},
}
Run = tuple[dict[str, Path], KTOConfig]


@pytest.fixture(scope="module", params=WAYS)
def killed(request: pytest.FixtureRequest, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A killed run, with its checkpoints in the store."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = {"batch_groups": 2, "beta": 0.5, "learning_rate": 1e-2, **WAYS[request.param]}
    places = {
        "reference": reference,
        "training_set": write_training_set(folder / "set", toy_rows(96, seed=1), []),
        "store": folder / "models",
        "cache": folder / "cache",
    }
    assert ended(start(train_until_killed, places, settings, KILLED_AFTER)) == [-signal.SIGKILL]
    return places, KTOConfig(**settings)


@pytest.fixture(scope="module")
def uninterrupted(killed: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of the run that was not killed."""
    places, config = killed
    return weights_hash(train_kto(**(places | {"store": tmp_path_factory.mktemp("at once")}), config=config))


@pytest.mark.parametrize("torn", [None, "state.safetensors", "state.json"])
def test_a_killed_run_ends_with_the_same_weights(
    killed: Run, uninterrupted: str, tmp_path: Path, torn: str | None
) -> None:
    places, config = killed
    store = shutil.copytree(places["store"], tmp_path / "models")
    [left] = store.glob(".kto-*.checkpoints")
    (left / ".step-00000009.half").mkdir()
    newest = max(left.glob("step-*"))
    if torn:
        content = (newest / torn).read_bytes()
        (newest / torn).write_bytes(content[: len(content) // 2])
    resumed = train_kto(**(places | {"store": store}), config=config)
    assert weights_hash(resumed) == uninterrupted
    record = json.loads((resumed / "training.json").read_text())
    # The checkpoint of a step is written after the step has been reported.
    assert record["checkpoints"] == {
        "resumed_after": KILLED_AFTER - 1 - bool(torn),
        "torn": [newest.name] if torn else [],
    }
    assert record["metrics"]["steps"] == STEPS
    assert list(store.iterdir()) == [resumed], "checkpoints go when the run has ended"


def test_the_scale_of_float16_gradients_is_kept(tmp_path):
    def run(scale):
        accelerator = make_accelerator("float32")
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=7)
        network = torch.nn.Linear(2, 2)
        optimizer = make_optimizer(network, learning_rate=1e-3, weight_decay=0.0)
        schedule = make_schedule(optimizer, steps=4, warmup=0.0, schedule="cosine")
        checkpoints = Checkpoints(tmp_path / "run", seconds=0, accelerator=accelerator)
        return checkpoints, Trained(network=network, optimizer=optimizer, schedule=schedule), accelerator.scaler

    checkpoints, trained, _ = run(1024.0)
    trained.network(torch.ones(1, 2)).sum().backward()
    trained.optimizer.step()
    checkpoints.save(trained, [{"loss": 1.0}])
    checkpoints, trained, scaler = run(65536.0)
    assert checkpoints.resume(trained) == [{"loss": 1.0}]
    assert scaler.get_scale() == 1024.0


def test_a_store_that_cannot_be_made_is_named_before_training(reference, training_set, tmp_path):
    (tmp_path / "file").write_text("")
    store = tmp_path / "file" / "models"
    places = {"reference": reference, "training_set": training_set, "cache": tmp_path / "cache"}
    stages = []
    with pytest.raises(TrainingError, match=r"the folder .*models cannot be created .*; give a writable one"):
        train_kto(
            **places, store=store, config=KTOConfig(max_steps=1), report=lambda stage, *_, **__: stages.append(stage)
        )
    assert "kto" not in stages
