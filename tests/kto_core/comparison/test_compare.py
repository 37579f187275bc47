"""The comparison: one budget for all, the figures of evaluation, differences on the same resamples."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from kto_core import EvaluationConfig, KTOConfig, TrainingError, compare, evaluate
from kto_core.__main__ import cli
from kto_core.base.objective_registry import OBJECTIVES
from kto_core.comparison.comparison_chart import draw_comparison
from kto_core.comparison.comparison_measures import MEASURES
from kto_core.comparison.comparison_table import show_comparison
from kto_core.data.datasets import TrainingSet
from kto_core.data.preferences import read_pairs
from tests.kto_core.toy import toy_rows, write_training_set
from tests.kto_core.training.test_pairs import write_pairs

KTO = KTOConfig(beta=0.5, learning_rate=5e-3, max_steps=4, batch_groups=2, class_gradients_every=0, kl_prompts=0)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Rows, choice sets by chance, and pairs of texts that no row has."""
    folder = write_training_set(tmp_path_factory.mktemp("mixed"), toy_rows(160, seed=1), toy_rows(300, seed=2))
    for split, start in (("train", 0), ("heldout", 500)):
        write_pairs(folder, [("refund", start + n, f"hello, case {n}", f"no case {n}") for n in range(40)], split)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Fewer resamples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kto_core.comparison.comparison_measures.DRAWS", 200)
        patch.setattr("kto_core.comparison.compare.DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def run(reference, mixed, home):
    def compared(**changed):
        given = {"kto": KTO, "objectives": ("dpo", "simpo:gamma=0.5"), "seeds": 2, "evaluation": EvaluationConfig()}
        return compare(
            reference=reference, training_set=mixed, store=home / "models", cache=home / "cache",
            out=home / "out", **{**given, **changed},
        )  # fmt: skip

    return compared


@pytest.fixture(scope="module")
def result(run):
    return run()


def test_all_have_the_same_budget_and_start(result, reference, home):
    trained = {name: arm for name, arm in result["contestants"].items() if "models" in arm}
    assert list(result["contestants"]) == ["kto", "kto on pairs", "dpo", "simpo:gamma=0.5", "reference", "prior"]
    assert result["budget"] == {"steps": 4, "completions": 64, "seeds": 2}
    for name, arm in trained.items():
        records = [json.loads((home / "models" / model / "training.json").read_text()) for model in arm["models"]]
        assert {record["inputs"]["reference_id"] for record in records} == {reference.name}
        assert [record["config"]["seed"] for record in records] == [0, 1]
        assert (arm["steps"], arm["completions"]) == (4, 64), name
        assert arm["config"]["learning_rate"] == 5e-3
    assert trained["simpo:gamma=0.5"]["config"]["gamma"] == 0.5
    assert trained["dpo"]["config"]["beta"] == 0.5
    assert result["contestants"]["simpo:gamma=0.5"]["ranked_by"] == "score"


def test_kto_on_pairs_learns_from_their_completions_alone(result, mixed, home):
    data = TrainingSet.open(mixed)
    rows = data.rows("train")
    texts = {(key, text) for key, *both in read_pairs(data, "train", rows).texts() for text in both}
    [folder] = (home / "cache" / "slices").iterdir()
    sliced = TrainingSet.open(folder).rows("train")
    assert set(zip(sliced.prompt_keys(), sliced.table["completion"].to_pylist(), strict=True)) == texts
    assert result["rows"] == {"train": len(rows), "of_pairs": len(sliced)}
    known = dict(
        zip(zip(rows.prompt_keys(), rows.table["completion"].to_pylist(), strict=True), rows.weights(), strict=True)
    )
    whose = zip(sliced.prompt_keys(), sliced.table["completion"].to_pylist(), strict=True)
    assert all(weight == known.get(text, 1.0) for text, weight in zip(whose, sliced.weights(), strict=True))


def test_figures_are_those_of_evaluate(result, reference, mixed, home):
    for name in ("kto", "simpo:gamma=0.5"):
        seed, arms = 1, result["contestants"]
        figures = evaluate(
            reference=reference, candidate=home / "models" / arms[name]["models"][seed], training_set=mixed,
            config=EvaluationConfig(), cache=home / "cache",
        )  # fmt: skip
        for measure in ("auc_within", "accuracy", "choice_accuracy"):
            of = {arm: arms[arm]["measures"][measure]["by_seed"] for arm in (name, "reference", "prior")}
            assert of[name][seed] == pytest.approx(figures[f"{measure}_after"], abs=1e-9)
            assert of["reference"] == [pytest.approx(figures[f"{measure}_before"], abs=1e-9)]
            assert of["prior"] == [pytest.approx(figures[f"{measure}_prior"], abs=1e-9)]


def test_intervals_hold_their_figures_and_differences_are_what_they_say(result):
    arms, of_kto = result["contestants"], result["differences"]["kto"]
    for name in MEASURES:
        for other, differences in of_kto.items():
            one, two = arms["kto"]["measures"][name], arms[other]["measures"][name]
            found = differences[name]
            if found is None:
                assert one is None or two is None
                continue
            assert found["value"] == pytest.approx(one["value"] - two["value"])
            assert found["low"] - 1e-9 <= found["value"] <= found["high"] + 1e-9
            assert found["value"] == pytest.approx(np.mean(found["by_seed"]))
    assert arms["reference"]["measures"]["preference_by_reward"] is None
    assert arms["dpo"]["measures"]["preference"] == arms["dpo"]["measures"]["preference_by_reward"]
    assert (
        arms["simpo:gamma=0.5"]["measures"]["preference"] == arms["simpo:gamma=0.5"]["measures"]["preference_by_score"]
    )
    assert arms["dpo"]["measures"]["preference_by_reward"]["value"] > 0.6, "the toy is easy"


def test_it_is_made_once_and_shown(result, run, tmp_path):
    again = run()
    assert again == result
    console = Console(record=True, width=100)
    show_comparison(result, console)
    said = console.export_text()
    assert "4 optimizer steps, 64 completions, 2 seeds" in said
    assert re.search(r"kto on pairs +│ 0\.\d{3} │", said)
    assert max(map(len, said.splitlines())) <= 105
    assert (Path(result["folder"]) / "comparison.png").is_file()
    draw_comparison(result, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_every_objective_can_be_compared(run):
    """Objectives on single rows learn from all rows, the others from the pairs."""
    objectives = [f"{name}:seed=0" if name == "kto" else name for name in OBJECTIVES]
    found = run(objectives=objectives, seeds=1, evaluation=EvaluationConfig(max_rows=20))
    for name in objectives:
        arm, entry = found["contestants"][name], OBJECTIVES[name.split(":")[0]]
        assert (arm["steps"], arm["completions"]) == (4, 64)
        assert arm["ranked_by"] == entry.ranked_by
        of = found["rows"]["train" if entry.rows == "singles" else "of_pairs"]
        assert arm["passes"] == pytest.approx(64 / of)
        assert [model.startswith(f"{entry.name}-") for model in arm["models"]] == [True]
        assert arm["config"].get("objective", "kto") == entry.name
    assert found["contestants"]["apo_zero"]["config"]["beta"] == KTO.beta


def test_kto_is_compared_with_whatever_the_settings_objective_is(run, result):
    assert run(kto=KTO.replace(objective="apo_zero")) == result


def test_too_few_are_not_measured(run):
    found = run(objectives=("dpo",), evaluation=EvaluationConfig(max_rows=20))
    assert found["heldout"]["pairs"] < 30
    assert found["contestants"]["dpo"]["measures"]["preference"] is None
    assert found["differences"]["kto"]["dpo"]["choice_accuracy"] is None
    show_comparison(found, Console(quiet=True))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("ppo", "there is no objective 'ppo'; choose from kto, apo_zero, dpo, ipo, orpo, simpo"),
        ("", "there is no objective ''; choose from kto, apo_zero, dpo, ipo, orpo, simpo"),
        ("dpo:kto=1", "PairConfig has no setting 'kto'; it knows batch_pairs"),
        ("kto:self=1", "KTOConfig has no setting 'self'; it knows balance"),
        ("dpo:objective=ipo", "sets its objective, which its name gives already"),
        ("apo_zero:beta=much", "KTOConfig.beta must be of type float, not 'much'"),
        ("dpo:beta", "has 'beta', which is no setting=value"),
        ("dpo:beta=much", "PairConfig.beta must be of type float or nothing, not 'much'"),
        ("dpo:gamma=1", "gamma has no effect on dpo"),
        ("dpo:steps=5", "sets steps, but all make the same number of steps"),
        ("dpo:beta=[", "whose value is not valid YAML"),
        ("kto", "kto always takes part"),
    ],
)
def test_a_wrong_objective_is_reported_before_anything_is_trained(run, objective, message, tmp_path):
    with pytest.raises(TrainingError, match=re.escape(message)):
        run(objectives=("dpo", objective))


def test_the_command_prints_json_or_tables(result, reference, mixed, home):
    words = ["compare", "--reference", reference, "--training-set", mixed, "--store", home / "models"]
    words += ["--cache", home / "cache", "--out", home / "out", "--objectives", "dpo,simpo:gamma=0.5", "--seeds", 2]
    words += ["--beta", 0.5, "--learning-rate", 5e-3, "--max-steps", 4, "--batch-groups", 2]
    words = [str(word) for word in [*words, "--class-gradients-every", 0, "--kl-prompts", 0]]
    printed = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert json.loads(printed.stdout) == json.loads(json.dumps(result))
    shown = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result["folder"] in shown.stdout
    assert "kto on pairs" in shown.stdout
