"""Training in two processes that `accelerate launch` starts, on the CPU over gloo, against training in one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

from kto_core.models.model_folders import load
from tests.forks import forked_python
from tests.kto_core.launched import COMMON, RUNS, SETTINGS, train
from tests.kto_core.processes import FAILED, LEFT, ended, start, train_side_by_side

COMPARED = {
    "kto": ("loss", "z0_raw", "z0", "margin", "grad_norm", "grad_norm_desirable", "kl"),
    "dpo": ("loss", "margin", "accuracy", "grad_norm"),
    "sft": ("loss", "grad_norm"),
}


class Launch(NamedTuple):
    """The inputs of one launch by way, its output folders, and its messages."""

    places: dict[str, dict[str, Path]]
    home: Path
    said: str


@pytest.fixture(scope="module")
def launched(reference, training_set, corpus, tmp_path_factory) -> Launch:
    """All runs, of both ways, and then the command `compare`, in one launch, because processes are slow to start."""
    home = tmp_path_factory.mktemp("launched")
    given = {"reference": reference, "training_set": training_set, "corpus": corpus}
    places = {way: given | {"cache": home / way / "cache", "to": home / way / "two"} for way in RUNS}
    common = ["--reference", reference, "--training-set", training_set, "--cache", home / "cache"]
    common += ["--out", home / "out", "--max-steps", 1, "--batch-groups", 2, "--max-rows", 20, "--kl-prompts", 0]
    commands = {
        "refused": ["sweep", *common, "--beta", "0.1,1"],
        "command": ["compare", *common, "--store", home / "models", "--objectives", "dpo", "--json"],
    }
    launcher = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--num_processes", "2"]
    settings = {"num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no", "main_process_port": "0"}
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    task = json.dumps(places | {name: list(map(str, words)) for name, words in commands.items()}, default=str)
    done = subprocess.run(
        [*launcher, "--multi_gpu", *flags, "--no_python", *forked_python("tests.kto_core.launched", task)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-9000:]
    return Launch(places, home, done.stderr)


@pytest.mark.parametrize("way", RUNS)
def test_two_processes_train_as_one_does(way, launched):
    places, two = launched.places[way], launched.places[way]["to"]
    names = set()
    for kind, settings in RUNS[way]:
        alone = train(kind, settings, places, two.with_name("one"))
        together = two / alone.name
        names.add(alone.name)
        rounds = "precision" in settings  # what lies together in a pass is then seen in the figures
        figures = [pq.read_table(folder / "metrics.parquet").to_pylist() for folder in (alone, together)]
        for one, other in zip(*figures, strict=True):
            for name in COMPARED[kind]:
                if one[name] is None:  # of one class's gradient not every step has a figure
                    assert other[name] is None
                    continue
                tolerance = {"abs": 0.02} if rounds else {"abs": 1e-6, "rel": 1e-6}
                assert other[name] == pytest.approx(one[name], **tolerance), (kind, name)
        weights = [load(folder)[0].state_dict() for folder in (alone, together)]
        for name, tensor in weights[0].items():
            torch.testing.assert_close(weights[1][name], tensor, atol=5e-3 if rounds else 1e-5, rtol=0)
        assert sorted(path.name for path in alone.iterdir()) == sorted(path.name for path in together.iterdir())
    assert {path.name for path in two.iterdir()} == names, "no checkpoint is left"


def test_a_sweep_is_not_for_several_processes(launched):
    assert "error: a sweep works in one process, not in 2; start it without a launcher" in launched.said


def test_a_command_that_trains_several_times_may_be_launched(launched):
    [place] = (launched.home / "out").iterdir()
    contestants = json.loads((place / "comparison.json").read_text())["contestants"]
    trained = [name for arm in contestants.values() for name in arm.get("models", [])]
    assert sorted(trained) == sorted(path.name for path in (launched.home / "models").iterdir())
    assert len(trained) == 3


def test_a_process_that_fails_leaves_no_other_waiting(reference, training_set, tmp_path):
    places = {"reference": reference, "training_set": training_set, "cache": tmp_path / "cache", "store": tmp_path}
    settings = COMMON | SETTINGS["kto"]
    both = [start(train_side_by_side, rank, tmp_path / "meet", places, settings, 2) for rank in (0, 1)]
    assert ended(*both) == [LEFT, FAILED]
    assert not list(tmp_path.glob("kto-*")), "no model is kept that is not done"
