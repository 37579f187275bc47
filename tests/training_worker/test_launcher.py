"""The training worker as the run sees it: what it says, however its words come through the file."""

import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from desk.desk import Desk
from desk.settings import DeskSettings
from tests.forks import forked_python
from training_worker.launcher import run_worker

# A worker whose messages come through the file system a few bytes at a time, as they may from another machine.
HALTING = """
import json, time
from dagster_pipes import PipesEnvVarParamsLoader

def message(method, **params):
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params}) + "\\n"

said = message("opened", extras={})
said += "".join(message("log", message=f"kto: {n}/4 steps", level="INFO") for n in range(1, 5))
said += message("report_custom_message", payload={"outcome": {"path": "x" * 9000}}) + message("closed")
with open(PipesEnvVarParamsLoader().load_messages_params()["path"], "a") as file:
    for start in range(0, 1000, 5):
        file.write(said[start : start + 5])
        file.flush()
        time.sleep(0.001)
    file.write(said[1000:])
"""
SILENT = "pass"
GARBLED = """
from dagster_pipes import PipesEnvVarParamsLoader

with open(PipesEnvVarParamsLoader().load_messages_params()["path"], "a") as file:
    file.write("no message\\n")
"""
NOTHING = {"name": "kto"}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    settings = DeskSettings(source="canonical", input=tmp_path, policy="harbor-support.v1", first_day="2026-03-02")
    return Desk.create(tmp_path / "home", "desk", settings)


def train(
    desk: Desk, instance: dg.DagsterInstance, *worker: str, task: Mapping[str, object] = NOTHING
) -> tuple[object, list[str]]:
    """The path that the worker reported, None where the run failed, and what the run's log says."""
    desk = Desk.create(desk.home, desk.name, desk.settings.model_copy(update={"launcher": (sys.executable, *worker)}))

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata=run_worker(context, desk, task))

    result = dg.materialize([model], instance=instance, raise_on_error=False)
    records = instance.get_records_for_run(result.run_id).records
    said = [record.event_log_entry.user_message for record in records]
    made = result.asset_materializations_for_node("model")
    return (made[0].metadata["path"].value if result.success else None), said


def test_what_the_worker_says_arrives_whole_and_in_order(desk: Desk, instance: dg.DagsterInstance) -> None:
    path, said = train(desk, instance, "-c", HALTING)
    assert path == "x" * 9000
    assert [line for line in said if line.startswith("kto: ")] == [f"kto: {n}/4 steps" for n in range(1, 5)]


@pytest.mark.parametrize("worker", [SILENT, GARBLED])
def test_a_worker_that_is_not_understood_fails_the_run(desk: Desk, instance: dg.DagsterInstance, worker: str) -> None:
    assert train(desk, instance, "-c", worker)[0] is None


def test_a_worker_may_be_two_processes_of_which_one_speaks(
    desk: Desk, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    rows = [{"prompt": [{"role": "user", "content": f"case {i}"}], "completion": "hello"} for i in range(8)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    config = {"steps": 2, "batch_rows": 4, "tiny": {"layers": 1, "width": 8, "heads": 1, "vocabulary": 300}}
    task = {"name": "sft", "model": "tiny", "rows": str(tmp_path / "rows.parquet"), "config": config}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python"]
    launcher += forked_python("training_worker")
    path, said = train(desk, instance, *launcher, task=task | {"store": str(tmp_path / "models")})
    assert [place.name for place in Path(str(path)).glob("*.safetensors")]
    assert sum(line.startswith("sft: 2/2") for line in said) == 1
