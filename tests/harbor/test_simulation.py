import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import harbor
from harbor import simulation as module
from harbor.__main__ import main
from harbor.journal import write_day

TOY = harbor.Simulation(
    tickets=40,
    days=5,
    transcripts=60,
    seed=3,
    sft={"steps": 2, "batch_rows": 4, "tiny": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 400}},
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, models: Path) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("desk") / "out"
    return out, harbor.simulate(TOY, out=out, models=models)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_it_writes_logs_transcripts_and_the_truth(done: tuple[Path, dict[str, Any]], models: Path) -> None:
    out, summary = done
    days = [f"raw/2026-10-{day}.jsonl.gz" for day in (27, 28, 29, 30, 31)]
    assert set(files(out)) == {*days, "transcripts.parquet", "truth.parquet", "simulation.json"}
    assert Path(summary["copilot"]).parent == models
    assert (summary["first_day"], summary["last_day"]) == ("2026-10-27", "2026-10-31")
    assert summary["as_of"] == "2026-11-01T00:00:00Z"
    assert summary["lines"] == summary["events"] + summary["duplicates"] + summary["damaged"]
    assert pq.read_table(out / "transcripts.parquet").column_names == ["prompt", "completion"]
    truth = pq.read_table(out / "truth.parquet").to_pylist()
    assert len({row["draft_id"] for row in truth}) == summary["drafts"] == 40
    assert all(row["right"] == (row["why"] == "right") for row in truth)


def test_the_same_settings_write_the_same_files(
    done: tuple[Path, dict[str, Any]], models: Path, tmp_path: Path
) -> None:
    harbor.simulate(TOY, out=tmp_path, models=models)
    assert files(tmp_path) == files(done[0])


def test_an_interrupted_run_is_finished_by_running_it_again(
    done: tuple[Path, dict[str, Any]], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_the_third(path: Path, lines: list[str]) -> None:
        if path.name.startswith("2026-10-29"):
            raise KeyboardInterrupt
        write_day(path, lines)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_day", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            harbor.simulate(TOY, out=tmp_path, models=models)
    assert len(list((tmp_path / "raw").iterdir())) == 2
    harbor.simulate(TOY, out=tmp_path, models=models)
    assert files(tmp_path) == files(done[0])


def test_a_finished_simulation_is_found_again(
    done: tuple[Path, dict[str, Any]], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train_copilot", None)
    out, summary = done
    assert harbor.simulate(TOY, out=out, models=models) == {**summary, "seconds": {}}


def test_other_logs_are_left_alone(done: tuple[Path, dict[str, Any]], models: Path, tmp_path: Path) -> None:
    with pytest.raises(harbor.HarborError, match="holds another simulation"):
        harbor.simulate(replace(TOY, seed=4), out=done[0], models=models)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "2020-01-01.jsonl").touch()
    with pytest.raises(harbor.HarborError, match="no simulation wrote"):
        harbor.simulate(TOY, out=tmp_path, models=models)
    (tmp_path / "file").touch()
    with pytest.raises(harbor.HarborError, match="cannot simulate into"):
        harbor.simulate(TOY, out=tmp_path / "file", models=models)


def test_a_trained_model_can_be_evaluated(done: tuple[Path, dict[str, Any]]) -> None:
    reports: list[str] = []

    def report(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        reports.append(stage)

    result = harbor.evaluate(Path(done[1]["copilot"]), tickets=8, report=report)
    assert result["model"]["kpis"]["first_contact_resolution"]["of"] == 8
    assert reports


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--model", "nowhere"], "no model folder"),
        (["simulate", "--out", "x", "--models", "y", "--tickets", "0"], "at least one of tickets"),
        (["simulate", "--out", "x", "--models", "y", "--days", "-2"], "at least one of days"),
        (["simulate", "--out", "x", "--models", "y", "--days", "10000000"], "before the calendar"),
        (["simulate", "--out", "x", "--models", "y", "--seed", "-1"], "a seed is 0 or more"),
        (["simulate", "--out", "x", "--models", "y", "--last-day", "soon"], "'soon'"),
        (["simulate", "--out", "/dev/null/x", "--models", "y"], "cannot simulate into"),
        (["evaluate", "--model", "/dev"], "/dev"),
        (["simulate", "--out", "x"], "--models"),
        (["simulated"], "simulated"),
    ],
)
def test_the_command_says_in_one_sentence_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert line.startswith("harbor: ")
    assert message in line


def test_the_command_prints_json(done: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    model = done[1]["copilot"]
    assert main(["evaluate", "--model", model, "--baseline", model, "--tickets", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["change"]["first_contact_resolution"] == 0
    assert main(["evaluate", "--model", model, "--baseline", model, "--tickets", "4"]) == 0
    assert capsys.readouterr().out.startswith("first_contact_resolution  baseline   0.0 %")


def test_help_reads_well_and_importing_is_light() -> None:
    program = (
        "import sys, harbor; from harbor.__main__ import main; "
        "assert main(['simulate', '--help']) == 0; assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--last-day" in run.stdout
    assert TOY.last_day == date(2026, 10, 31)
