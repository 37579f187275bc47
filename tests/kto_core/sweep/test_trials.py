"""The sweep: every cell once, in spite of interruptions, from one reference, with a table, a figure and records."""

import io
import json
import re
import signal
from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from rich.console import Console

from kto_core import EvaluationConfig, KTOConfig, TrainingError, evaluate, run_sweep
from kto_core.__main__ import cli
from kto_core.data.datasets import TrainingSet
from kto_core.sweep.equal_trials import HeldOutScores
from kto_core.sweep.space import cells, checked, parse_space
from kto_core.sweep.study import open_study
from kto_core.sweep.sweep_chart import draw_sweep
from kto_core.sweep.sweep_table import show_sweep
from kto_core.sweep.trials import Task
from tests.kto_core.processes import ended, start, sweep_until_killed

BASE = KTOConfig(beta=0.5, learning_rate=5e-3, max_steps=2, batch_groups=2, class_gradients_every=0, kl_prompts=4)
SPACE = {"beta": (0.2, 1.0), "undesirable_weight": (0.5, 1.8)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def run(reference, training_set, home):
    def swept(**changed):
        options = {"config": BASE, "space": SPACE, "evaluation": EvaluationConfig(), "out": home / "out"}
        return run_sweep(reference=reference, training_set=training_set, cache=home / "cache", **options | changed)

    return swept


@pytest.fixture(scope="module")
def stages():
    return []


@pytest.fixture(scope="module")
def result(run, stages):
    return run(report=lambda stage, done, total, unit, **figures: stages.append(stage))


def settings_of(trials):
    return sorted(tuple(trial["settings"].values()) for trial in trials)


def test_a_grid_tries_every_cell_once_and_asks_the_reference_once(result, stages):
    assert settings_of(result["trials"]) == [(0.2, 0.5), (0.2, 1.8), (1.0, 0.5), (1.0, 1.8)]
    in_turn = sorted(result["trials"], key=lambda trial: trial["trial"])
    assert in_turn[0]["reference_computed"] > 50
    assert [trial["reference_computed"] for trial in in_turn[1:]] == [0, 0, 0]
    assert {"trial 1 of 4: kto", "trial 4 of 4: score after", "reference: score before", "sweep"} <= {*stages}


def test_trials_hold_what_evaluate_says_and_how_far_they_went(result, reference, training_set, home):
    best = result["best"]["candidate"]
    figures = evaluate(
        reference=reference, candidate=Path(best), training_set=training_set, config=EvaluationConfig(),
        cache=home / "cache",
    )  # fmt: skip
    first = result["trials"][0]
    for name in ("auc", "auc_within", "accuracy", "choice_accuracy"):
        assert first[name] == figures[f"{name}_after"]
        assert result["reference"][name] == figures[f"{name}_before"]
        assert result["prior"][name] == figures[f"{name}_prior"]
    record = json.loads((Path(best) / "training.json").read_text())
    assert (first["kl"], first["z0"]) == (record["metrics"]["kl"], record["metrics"]["z0"])
    assert first["reward_margin"] == figures["reward_margin"]
    assert {name: record["config"][name] for name in SPACE} == first["settings"] == result["best"]["settings"]


def test_best_first_and_only_its_weights_are_kept(result):
    folder = Path(result["folder"])
    order = [(-trial["auc_within"], trial["kl"]) for trial in result["trials"]]
    assert order == sorted(order)
    assert [weights.parent for weights in folder.rglob("*.safetensors")] == [Path(result["best"]["candidate"])]
    assert len(list(folder.glob("trials/*/training.json"))) == 4
    front = {place for place, one in enumerate(order) if not any(a <= one[0] and b <= one[1] and (a, b) != one
                                                                 for a, b in order)}  # fmt: skip
    assert {place for place, trial in enumerate(result["trials"]) if trial["pareto"]} == front
    assert (folder / "sweep.png").is_file()


def test_done_again_it_only_reads(result, run, stages):
    stages.clear()
    assert run(report=lambda stage, *_, **__: stages.append(stage)) == result
    assert {*stages} == {"bootstrap"}


def test_as_good_is_what_the_held_out_tickets_cannot_tell_from_the_best(result, run, training_set):
    for measure in ("auc_within", "auc", "accuracy", "choice_accuracy"):
        held = HeldOutScores(TrainingSet.open(training_set), EvaluationConfig())
        best, *others = run(objective=measure)["trials"]
        scores = {place: np.load(file) for place, file in enumerate(Path(result["folder"]).glob("trials/*/scores.npy"))}
        assert len(scores) == 4
        points = {place: held.rows.statistic(measure, one) for place, one in scores.items()}
        if points[0] is None:  # too few choice sets
            assert measure == "choice_accuracy"
            assert {trial["as_good"] for trial in others} == {None}
            continue
        figures = sorted(float(of(np.ones((1, len(tickets))))[0]) for of, tickets in points.values())
        assert figures == pytest.approx(sorted(trial[measure] for trial in (best, *others)))
        assert best["as_good"]
        for trial in others:
            low, high = trial["behind"]["low"], trial["behind"]["high"]
            assert trial["as_good"] == (low <= 0 <= high)
            assert low - 1e-9 <= trial[measure] - best[measure] <= high + 1e-9
    nearest = min((t for t in result["trials"] if t["as_good"]), key=lambda trial: trial["kl"])
    assert result["nearest"] == nearest["settings"]


def test_another_objective_has_its_best_and_a_task_its_own_figures(run):
    def measure(model, report):
        beta = json.loads((model / "training.json").read_text())["config"].get("beta", 0)
        return {"sharp": beta, "mild": 2 - beta}

    task = Task(name="toy", kpis={"sharp": False, "mild": False}, measure=measure)
    space = {"beta": (0.2, 1.0)}
    sharp = run(space=space, task=task, objective="sharp", keep_all=True)
    assert sharp["reference"]["sharp"] == 0
    assert [trial["sharp"] for trial in sharp["trials"]] == [0.2, 1.0], "the lower, the better"
    assert len(list(Path(sharp["folder"]).rglob("*.safetensors"))) == 2
    mild = run(space=space, task=task, objective="mild")
    assert mild["folder"] == sharp["folder"], "a grid is the same by whatever it is judged"
    assert mild["best"]["settings"] == {"beta": 1.0}
    again = run(space=space, task=task, objective="sharp")
    [weights] = Path(again["folder"]).rglob("*.safetensors")
    assert weights.parent == Path(again["best"]["candidate"]), "it was removed, and is made again"
    assert run(space=space)["folder"] != again["folder"], "without the task it is another sweep"


def test_killed_and_started_again_it_ends_with_the_same_cells(result, run, reference, training_set, home, tmp_path):
    places = {"reference": reference, "training_set": training_set, "cache": home / "cache", "out": tmp_path}
    killed = start(sweep_until_killed, places, BASE.to_dict(), SPACE, "trial 3 of 4: kto")
    assert ended(killed) == [-signal.SIGKILL]
    storage = f"sqlite:///{tmp_path / Path(result['folder']).name / 'sweep.sqlite'}"

    def states():
        [study] = optuna.get_all_study_summaries(storage)
        return [trial.state.name for trial in optuna.load_study(study_name=study.study_name, storage=storage).trials]

    assert states() == ["COMPLETE", "COMPLETE", "RUNNING", "WAITING"]
    resumed = run(out=tmp_path)
    assert states() == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    kept = ("settings", "candidate", "auc_within", "kl", "pareto")
    assert sorted([[trial[name] for name in kept] for trial in resumed["trials"]], key=str) == sorted(
        [[trial[name] for name in kept] for trial in result["trials"]], key=str
    )
    assert resumed["failed"] == []


def test_draws_stay_within_bounds_and_are_gone_on_with(run):
    space = {"beta": (0.2, 0.5, 1.0), "learning_rate": (1e-3,)}
    two = run(space=space, sampler="tpe", trials=2)
    three = run(space=space, sampler="tpe", trials=3)
    assert three["folder"] == two["folder"]
    betas = [trial["settings"]["beta"] for trial in three["trials"]]
    assert len({*betas}) == 3
    assert all(0.2 <= beta <= 1.0 for beta in betas)
    assert {trial["settings"]["learning_rate"] for trial in three["trials"]} == {1e-3}
    assert {*settings_of(two["trials"])} < {*settings_of(three["trials"])}


def test_a_trial_that_fails_is_told_and_the_others_go_on(run, capfd):
    outcome = run(config=BASE.replace(max_steps=3), space={"beta": (0.5,), "learning_rate": (1e-3, 1e20)})
    [good], [bad] = outcome["trials"], outcome["failed"]
    assert (good["settings"]["learning_rate"], bad["settings"]["learning_rate"]) == (1e-3, 1e20)
    assert "finite" in bad["error"]
    console = Console(record=True, width=100, file=io.StringIO())
    show_sweep(outcome, console)
    assert re.search(r"β 0.5, learning rate 1e\+20 failed: .*finite", console.export_text())
    assert capfd.readouterr().err == "", "Optuna has nothing to say"
    with pytest.raises(TrainingError, match=r"all trials of the sweep failed \(1\), the last one with: .*finite"):
        run(config=BASE.replace(max_steps=3), space={"learning_rate": (1e20,)})


def test_the_figure_is_drawn_of_grids_and_draws_with_kpis_or_without(result, tmp_path):
    drawn = {**result, "sampler": "tpe", "kpis": {"auc": False}}
    for number, one in enumerate((result, drawn, {**result, "space": {"beta": [0.2, 1.0]}})):
        draw_sweep(one, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")


def test_one_process_at_a_time(run, result):
    with (
        open_study(Path(result["folder"]), higher=True, seed=0),
        pytest.raises(TrainingError, match="another process works on the sweep in"),
    ):
        run()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {}}, "a sweep needs values of some setting: beta, undesirable_weight, learning_rate"),
        ({"space": {"seed": (1.0,)}}, "a sweep cannot vary seed"),
        ({"space": {"beta": (0.1, -1.0)}}, "KTOConfig.beta must be above 0, not -1.0"),
        (
            {"config": BASE.replace(objective="apo_zero", kl_prompts=0)},
            "a sweep by apo_zero needs KTOConfig.kl_prompts",
        ),
        ({"objective": "first_contact_resolution"}, "a sweep cannot rank by 'first_contact_resolution' here"),
    ],
)
def test_what_makes_no_sense_is_reported_before_anything_is_trained(run, changed, message, tmp_path):
    with pytest.raises(TrainingError, match=re.escape(message)):
        run(out=tmp_path, **changed)
    assert not list(tmp_path.iterdir())


def test_values_are_read_as_written_or_lie_around_the_base():
    base = KTOConfig(beta=0.1, undesirable_weight=1.8)
    assert parse_space({}, base) == {"beta": (0.033, 0.1, 0.3), "undesirable_weight": (0.9, 1.8, 3.6)}
    space = parse_space({"beta": "1, 0.1,1", "learning_rate": "1e-4"}, base)
    assert checked(space, base)["beta"] == (0.1, 1.0)
    assert len(cells(checked(space, base))) == 6
    says = "such as 0.1,0.3,1; KTOConfig.beta must be of type float, not '0.1;1'"
    with pytest.raises(TrainingError, match=re.escape(says)):
        parse_space({"beta": "0.1;1"}, base)


def test_the_command_prints_json_or_a_table(result, reference, training_set, home, tmp_path):
    file = tmp_path / "kto.json"
    file.write_text(json.dumps({**BASE.to_dict(), "max_steps": 9}))
    words = ["sweep", "--reference", reference, "--training-set", training_set, "--cache", home / "cache"]
    words += ["--out", home / "out", "--config", file, "--beta", "0.2,1", "--undesirable-weight", "0.5,1.8"]
    words = [str(word) for word in [*words, "--max-steps", 2]]
    printed = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    assert json.loads(printed.stdout) == json.loads(json.dumps(result))
    shown = CliRunner().invoke(cli, words, catch_exceptions=False).stdout
    assert result["folder"] in shown
    rows = [line for line in shown.splitlines() if re.match(r" *(0\.2|1) +(0\.5|1\.8) +", line)]
    assert len(rows) == 4
    assert "best" in rows[0]
    assert re.search(r"computed: \d\d by the first trial, 0 by the\s+others", shown)
    assert max(map(len, shown.splitlines()[:-1])) <= 120
