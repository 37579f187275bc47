"""`feedback-kto sweep`: the active desk's reference, training set and settings, and what a person sees."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from harbor.tickets import draw_tickets
from kto_core import SFTConfig, train_sft
from pipelines.cli.main import cli, main
from pipelines.output.command_output import say_home
from tests.kto_core.toy import TOY, toy_rows, write_training_set

KPIS = ("first_contact_resolution", "invented_policy", "wrong_route")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk with a reference and a training set, as a run leaves them, whose truth is known."""
    home = tmp_path_factory.mktemp("home")
    desk = home / "toy"
    training_set = write_training_set(desk / "training_sets" / "v1", toy_rows(80, seed=1), toy_rows(60, seed=2))
    reference = train_sft(model="tiny", rows=training_set, config=SFTConfig(steps=2, tiny=TOY), store=desk / "models")
    (desk / "current").mkdir()
    for name, path in (("reference_model", reference), ("training_set", training_set)):
        (desk / "current" / f"{name}.json").write_text(json.dumps({"path": str(path)}))
    settings = {
        "source": "canonical", "input": str(home), "policy": "harbor-support.v1", "first_day": "2026-11-01",
        "kto": {"batch_groups": 1, "beta": 0.5, "class_gradients_every": 0, "kl_prompts": 2},
        "evaluation": {"max_rows": 50}, "truth": "harbor",
    }  # fmt: skip
    (desk / "desk.yaml").write_text(yaml.safe_dump(settings))
    (home / "active.desk").write_text("toy\n")
    return home


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few tickets of the desk's task; and what the command has set for its process is not left to the next test."""
    monkeypatch.setattr("harbor.kpis.draw_tickets", lambda _, **given: draw_tickets(4, **given))
    yield
    say_home(None)


def run(home: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEEDBACK_HOME", str(home))
        patch.setenv("COLUMNS", "110")
        return CliRunner().invoke(cli, ["--home", str(home), "sweep", *arguments], catch_exceptions=False)


def test_a_table_for_a_person_and_json_for_a_program(home: Path) -> None:
    words = ["--beta", "0.5,2", "--undesirable-weight", "1", "--steps", "2"]
    told = run(home, *words, "--json")
    result = json.loads(told.stdout)
    assert "best" in told.stderr
    assert result["space"] == {"beta": [0.5, 2.0], "undesirable_weight": [1.0]}
    assert [trial["steps"] for trial in result["trials"]] == [2, 2]
    assert set(KPIS) < set(result["trials"][0])
    assert set(KPIS) < set(result["reference"])
    folder = Path(result["folder"])
    assert folder.parent == home / "toy" / "sweeps"
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((home / "toy" / "models").iterdir())) == 1, "candidates of a sweep are not among the models"
    shown = run(home, *words, "--objective", "invented_policy").stdout
    assert "Best by invented_policy" in shown
    assert "invented" in shown
    assert f"{folder}/sweep.png" in shown


@pytest.mark.parametrize(
    ("lacks", "arguments", "says"),
    [
        ("training_set", [], "desk toy has no training set yet; `feedback-kto --home"),
        (None, ["--beta", "much"], "beta of a sweep must be numbers with commas between them"),
        (None, ["--objective", "loss"], "a sweep cannot rank by 'loss' here; it ranks by one of auc_within, auc,"),
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
            main(["--home", str(home), "sweep", *arguments])
    finally:
        if lacks:
            (home / "hidden.json").rename(home / "toy" / "current" / f"{lacks}.json")
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert says in said
    assert said.strip().count("\n") == 0
