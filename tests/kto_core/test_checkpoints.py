"""A run that is killed and started again, by a real signal to a real process, against one that never was."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kto_core import KTOConfig, train_kto
from kto_core.models import weights_hash
from tests.kto_core.toy import toy_rows, write_training_set

STEPS, KILLED_AFTER = 6, 4
KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
import kto_core.kto
from kto_core import KTOConfig, train_kto

torch.set_num_threads(1)
kto_core.kto.Paced = lambda report: report  # every step is reported
places, config = json.loads(sys.argv[1])

def kill(stage, done, total, unit, **figures):
    if (stage, done) == ("kto", int(sys.argv[2])):
        os.kill(os.getpid(), signal.SIGKILL)

places = {name: Path(place) for name, place in places.items()}
train_kto(**places, config=KTOConfig(**config), checkpoint_seconds=0, report=kill)
"""
WAYS = {
    "full": {"max_steps": STEPS},
    "lora": {"max_steps": STEPS, "lora_rank": 2, "warmup": 0.5, "schedule": "cosine"},
}


@pytest.fixture
def places(reference: Path, tmp_path: Path) -> dict[str, Path]:
    rows = write_training_set(tmp_path / "set", toy_rows(96, seed=1), [])
    return {"reference": reference, "training_set": rows, "store": tmp_path / "models", "cache": tmp_path / "cache"}


@pytest.mark.parametrize("torn", [None, "state.safetensors", "state.json"])
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_run_ends_with_the_same_weights(
    places: dict[str, Path], tmp_path: Path, way: str, torn: str | None
) -> None:
    if way == "lora" and torn:
        pytest.skip("what is torn does not depend on what is trained")
    settings = {"batch_groups": 2, "beta": 0.5, "learning_rate": 1e-2, **WAYS[way]}
    given = json.dumps([{name: str(place) for name, place in places.items()}, settings])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, given, str(KILLED_AFTER)],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    [left] = places["store"].glob(".kto-*.checkpoints")
    newest = sorted(left.glob("step-*"))[-1]
    (left / ".step-00000009.half").mkdir()
    if torn:
        content = (newest / torn).read_bytes()
        (newest / torn).write_bytes(content[: len(content) // 2])

    config = KTOConfig(**settings)
    resumed = train_kto(**places, config=config)
    whole = train_kto(**(places | {"store": tmp_path / "at once"}), config=config)
    assert weights_hash(resumed) == weights_hash(whole)
    # The checkpoint of a step is written after the step has been reported.
    made = KILLED_AFTER - 1
    said = json.loads((resumed / "training.json").read_text())
    assert said["checkpoints"] == {
        "resumed_after": made - bool(torn),
        "torn": [newest.name] if torn else [],
    }
    assert said["metrics"]["steps"] == STEPS
    assert list(places["store"].iterdir()) == [resumed], "checkpoints go when the run has ended"
