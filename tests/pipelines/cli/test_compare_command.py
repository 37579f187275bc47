"""`feedback-kto compare`: the active desk's reference and training set, its settings, and what a person sees."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kto_core import SFTConfig, train_sft
from pipelines.cli.main import cli, main
from pipelines.output.command_output import say_home
from tests.kto_core.toy import TOY, toy_rows, write_training_set


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk with a reference and a training set, as a run leaves them."""
    home = tmp_path_factory.mktemp("home")
    desk = home / "toy"
    training_set = write_training_set(desk / "training_sets" / "v1", toy_rows(120, seed=1), toy_rows(300, seed=2))
    reference = train_sft(model="tiny", rows=training_set, config=SFTConfig(steps=2, tiny=TOY), store=desk / "models")
    (desk / "current").mkdir()
    for name, path in (("reference_model", reference), ("training_set", training_set)):
        (desk / "current" / f"{name}.json").write_text(json.dumps({"path": str(path)}))
    settings = {
        "source": "canonical", "input": str(home), "policy": "harbor-support.v1", "first_day": "2026-11-01",
        "kto": {"max_steps": 2, "batch_groups": 1, "beta": 0.5, "class_gradients_every": 0, "kl_prompts": 0},
        "evaluation": {"max_rows": 200},
    }  # fmt: skip
    (desk / "desk.yaml").write_text(yaml.safe_dump(settings))
    (home / "active.desk").write_text("toy\n")
    return home


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fewer resamples, no curve of each training, and nothing that the command sets is left to the next test."""
    monkeypatch.setattr("kto_core.comparison.comparison_measures.DRAWS", 100)
    monkeypatch.setattr("kto_core.training.kto.draw_kto_curve", lambda *_: None)
    monkeypatch.setattr("kto_core.training.pairs.draw_pair_curve", lambda *_, **__: None)
    yield
    say_home(None)


def run(home: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEEDBACK_HOME", str(home))
        patch.setenv("COLUMNS", "110")
        return CliRunner().invoke(cli, ["--home", str(home), "compare", *arguments], catch_exceptions=False)


def test_tables_for_a_person_and_json_for_a_program(home: Path) -> None:
    told = run(home, "--objectives", "kto:beta=0.7, dpo", "--json")
    result = json.loads(told.stdout)
    assert "kto on pairs" in told.stderr
    assert list(result["contestants"]) == ["kto", "kto on pairs", "kto:beta=0.7", "dpo", "reference", "prior"]
    assert result["budget"]["steps"] == 2
    assert result["contestants"]["dpo"]["config"]["beta"] == 0.5
    assert result["contestants"]["kto:beta=0.7"]["config"]["beta"] == 0.7
    assert Path(result["folder"]).parent == home / "toy" / "comparisons"
    shown = run(home, "--objectives", "kto:beta=0.7,dpo")
    assert "AUC within categories" in shown.stdout
    assert f"{result['folder']}/comparison.png" in shown.stdout


@pytest.mark.parametrize(
    ("lacks", "arguments", "says"),
    [
        ("reference_model", [], "desk toy has no reference model yet; `feedback-kto --home"),
        (None, ["--objectives", "ppo"], "there is no objective 'ppo'; choose from kto, apo_zero, dpo"),
        (None, ["--objectives", ""], "there is no objective ''; choose from kto, apo_zero, dpo"),
    ],
)
def test_a_mistake_ends_in_one_sentence(
    home: Path, lacks: str | None, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if lacks:
        (home / "toy" / "current" / f"{lacks}.json").rename(home / "hidden.json")
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setenv("FEEDBACK_HOME", str(home))
            main(["--home", str(home), "compare", *arguments])
    finally:
        if lacks:
            (home / "hidden.json").rename(home / "toy" / "current" / f"{lacks}.json")
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert says in said
    assert said.strip().count("\n") == 0
