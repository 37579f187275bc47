"""The ids of models, sweeps and comparisons stay: a desk finds its results by them.

The ids here come from the code as it was when settings were plain dataclasses. Nothing is trained: a folder that is
there is not trained again, and one with another name would need a real model.
"""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kto_core import (
    EvaluationConfig,
    KTOConfig,
    PairConfig,
    SFTConfig,
    compare,
    run_sweep,
    train_kto,
    train_pairs,
    train_sft,
)  # fmt: skip
from tests.kto_core.toy import toy_rows, write_training_set
from tests.kto_core.training.test_pairs import write_pairs


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one number."""
    folder = tmp_path_factory.mktemp("model") / "reference"
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 0.5))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_training_set(tmp_path_factory.mktemp("data"), toy_rows(40, seed=1), toy_rows(60, seed=2))
    for split, start in (("train", 0), ("heldout", 500)):
        write_pairs(folder, [("refund", start + n, f"hello, case {n}", f"no case {n}") for n in range(10)], split)
    return folder


KTO = [
    ("a5a972f17e6a451e", {}),
    ("48a61e204c012599", {"beta": 1, "undesirable_weight": "5e-1", "balance": "lambda", "group_rows": 7}),
    ("2eb1615787f1b972", {"max_steps": 9, "stop_when_unhealthy": True, "learning_rate": "1e-4", "seed": 3}),
]
PAIRS = [
    ("dpo-00f06996dcc03c17", {}),
    ("simpo-6b94190e49db6218", {"objective": "simpo", "gamma": 0, "steps": 5}),
    ("orpo-9a55eddedac193a0", {"objective": "orpo", "warmup": 1}),
    ("ipo-ebb23ca8d03d14ac", {"objective": "ipo", "beta": "1e-1"}),
]
SFT = [
    ("e77606637dd66c1c", {}),
    (
        "485e03b30cdbb787",
        {"steps": 3, "learning_rate": "1e-4", "weight_decay": 0, "tiny": {"layers": 2, "width": 32}},
    ),
]
SWEEPS: list[tuple[str, dict[str, Any]]] = [
    ("375b3fcb08f5b772", {"space": {"beta": (0.1, 1.0)}}),
    (
        "3fd840398b560797",
        {
            "config": KTOConfig(beta=1, max_steps=3),
            "space": {"learning_rate": (1e-4,), "undesirable_weight": (1, 0.5)},
            "sampler": "tpe",
            "evaluation": EvaluationConfig(max_rows=20, precision="bfloat16"),
        },
    ),
]
COMPARED = [
    "kto-10e8b253ca90e5a3", "kto-183a925ae4b09ce7", "kto-03c8fad2eae3d2ea", "kto-4fa3b0beac93c7e9",
    "dpo-b01b7effc77b9739", "dpo-8069ea049f972c3f", "ipo-3e9f04a190a4537d", "ipo-ce37272d8d204ab3",
    "orpo-485b839985f238e5", "orpo-01b2dbc255ad259d", "simpo-dd38d95f761d844c", "simpo-781aead5e27e2cf7",
    "kto-c39a496f5224020a", "kto-0df15d3808f728cf",
]  # fmt: skip


def model_folders(store: Path, *names: str) -> Path:
    for name in names:
        (store / name).mkdir(parents=True)
    return store


@pytest.mark.parametrize(("name", "settings"), KTO)
def test_kto(model: Path, data: Path, tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    store = model_folders(tmp_path, f"kto-{name}")
    config = KTOConfig.from_dict(settings)
    assert train_kto(reference=model, training_set=data, config=config, store=store, cache=tmp_path) in store.iterdir()


@pytest.mark.parametrize(("name", "settings"), PAIRS)
def test_pairs(model: Path, data: Path, tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    store = model_folders(tmp_path, name)
    config = PairConfig.from_dict(settings)
    outcome = train_pairs(reference=model, training_set=data, config=config, store=store, cache=tmp_path)
    assert outcome in store.iterdir()


@pytest.mark.parametrize(("name", "settings"), SFT)
def test_sft(data: Path, tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    store = model_folders(tmp_path, f"sft-{name}")
    assert train_sft(model="tiny", rows=data, config=SFTConfig.from_dict(settings), store=store) in store.iterdir()


@pytest.mark.parametrize(("name", "given"), SWEEPS)
def test_sweeps(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any]
) -> None:
    opened: list[Path] = []

    @contextmanager
    def stop(folder: Path, **_: object) -> Iterator[NoReturn]:
        opened.append(folder)
        raise StoppedError
        yield

    monkeypatch.setattr("kto_core.sweep.trials.open_study", stop)
    settings = {"config": KTOConfig(), "evaluation": EvaluationConfig(), **given}
    with pytest.raises(StoppedError):
        run_sweep(reference=model, training_set=data, cache=tmp_path, out=tmp_path, **settings)
    assert opened == [tmp_path / f"sweep-{name}"]


def test_comparisons(model: Path, data: Path, tmp_path: Path) -> None:
    store = model_folders(tmp_path / "models", *COMPARED)
    out = model_folders(tmp_path / "out", "compare-961daa4d3e6b51cf")
    (out / "compare-961daa4d3e6b51cf" / "comparison.json").write_text('{"known": true}')
    outcome = compare(
        reference=model,
        training_set=data,
        kto=KTOConfig(beta=0.5, max_steps=4, batch_groups=2),
        objectives=("dpo", "ipo", "orpo", "simpo:gamma=0.5", "kto:beta=0.3"),
        seeds=2,
        evaluation=EvaluationConfig(max_rows=20),
        store=store,
        cache=tmp_path / "cache",
        out=out,
    )
    assert outcome["known"]
