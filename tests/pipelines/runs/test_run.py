"""From raw logs to a release and back, by the command, on a real Dagster instance, with a toy of a model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from deltalake import DeltaTable

from desk.desk import Desk
from desk.lock import hold_desk
from feedback.audits.overrides import open_gate
from pipelines.launch import fail_dead_runs
from pipelines.runs.day_ranges import range_tags
from tests.forks import forked_python

Command = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[3]
TOY = {"layers": 1, "width": 32, "heads": 2, "vocabulary": 320}


@pytest.fixture(scope="session")
def desk(command: Command, home: Path, logs: Path) -> Path:
    """A desk set up by `init`, with training at toy size."""
    done = command("init", "toy", "--source", "canonical", "--input", str(logs))
    assert done.returncode == 0, done.stderr
    path = home / "toy" / "desk.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["reference"] = {"sft": {"steps": 3, "batch_rows": 4, "tiny": TOY}}
    settings["kto"] = {"max_steps": 4, "group_rows": 4, "batch_groups": 1, "beta": 1.0}
    settings["heldout"] = 0.3
    # Training through another launcher, by configuration alone.
    settings["launcher"] = ["nice", "-n", "1", *forked_python("training_worker")]
    path.write_text(yaml.safe_dump(settings))
    # Nobody reads a toy's labels: see test_audit_gate.py for what happens then.
    toy = Desk(home, "toy")
    open_gate(toy.lake, toy.policy, who="the tests", why="a toy")
    return path.parent


@pytest.fixture(scope="session")
def first(shell: Command, desk: Path) -> dict[str, Any]:
    """What the first run says of itself."""
    done = shell("run", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_books_balance_from_raw_line_to_training_row(first: dict[str, Any]) -> None:
    assert (first["files"], first["lines"]) == (4, 363)
    assert first["lines"] == first["mapped"] + first["ignored"] + first["quarantined"]
    assert (first["quarantined"], first["duplicates"], first["events"]) == (1, 1, 361)
    assert first["interactions"] == 180 == sum(first["labels"].values())
    assert first["tiers"] == {
        "explicit": {"desirable": 60, "undesirable": 30},
        "strong": {"desirable": 60, "undesirable": 30},
    }
    rows = first["training_set"]
    assert rows["desirable"] + rows["undesirable"] + rows["heldout"] == 180


def test_it_trains_evaluates_and_releases(first: dict[str, Any], desk: Path) -> None:
    assert first["train"]["steps"] == 4
    assert {"loss_first", "loss_last", "z0"} <= set(first["train"])
    assert {"accuracy_before", "accuracy_after", "auc_before", "auc_after", "reward_margin"} <= set(first["heldout"])
    bundle = Path(first["release"])
    assert bundle.parent == desk / "releases"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["training_set"]["version"] == first["training_set"]["version"]
    assert (bundle / "model.safetensors").exists()
    assert (bundle / "README.md").exists()
    assert set(first["seconds"]) == {
        "feedback_events", "interactions", "labels", "audit_sample", "verdicts", "label_quality", "training_set",
        "reference_model", "kto_candidate", "evaluation", "release",
    }  # fmt: skip


def test_a_released_row_leads_back_to_its_raw_lines(first: dict[str, Any], desk: Path, logs: Path) -> None:
    folder = desk / "training_sets" / first["training_set"]["version"]
    row_id, rule = duckdb.execute(
        f"SELECT row_id, rule FROM read_parquet('{folder}/undesirable/*.parquet') ORDER BY row_id LIMIT 1"
    ).fetchone() or ("", "")
    [label] = [
        row for row in DeltaTable(desk / "lake" / "labels").to_pyarrow_table().to_pylist() if row["draft_id"] == row_id
    ]
    assert label["rule"] == rule
    events = {
        row["event_id"]: row
        for row in DeltaTable(desk / "lake" / "events").to_pyarrow_table().to_pylist()
        if row["event_id"] in label["evidence"]
    }
    assert {event["kind"] for event in events.values()} in ({"draft_shown", "thumbs_down"}, {"draft_shown", "rejected"})
    for event in events.values():
        line = subprocess.check_output(["zcat", str(logs / event["file"])], text=True).splitlines()[event["line"] - 1]
        assert json.loads(line)["event_id"] == event["event_id"]


def test_the_run_is_in_dagster_with_its_progress_and_figures(
    environment: dict[str, str], first: dict[str, Any]
) -> None:
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        # The instance is shared with other files' tests, which may have run before.
        nightly = instance.get_run_records(dg.RunsFilter(job_name="nightly_retrain"))
        run = min(nightly, key=lambda record: record.create_timestamp).dagster_run
        assert run.status is dg.DagsterRunStatus.SUCCESS
        logged = [record.event_log_entry.user_message for record in instance.get_records_for_run(run.run_id).records]
        assert any(message.startswith("kto: 4/4 steps (") for message in logged), "the worker's progress streams in"
        candidate = instance.get_latest_materialization_event(dg.AssetKey("kto_candidate"))
        assert candidate is not None and candidate.asset_materialization is not None
        assert "data:image/png;base64" in str(candidate.asset_materialization.metadata["training curve"].value)
        days = instance.get_materialized_partitions(dg.AssetKey("labels"))
        assert days == {f"2026-03-{day:02}" for day in range(2, 13)}


def test_a_run_can_stop_at_the_training_set(command: Command, first: dict[str, Any], home: Path) -> None:
    done = command("--home", str(home), "run", "--until", "training_set", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    record = ["feedback_events", "interactions", "labels", "audit_sample", "verdicts", "label_quality"]
    assert list(made["seconds"]) == [*record, "training_set"]
    assert made["training_set"] == first["training_set"]
    assert "release" not in made
    assert f"`feedback-kto --home {home} rebuild --as-of {made['as_of']}` makes it again" in done.stderr


def test_a_log_that_is_too_young_says_how_far_its_rows_came(command: Command, tmp_path: Path, logs: Path) -> None:
    young = tmp_path / "logs"
    young.mkdir()
    shutil.copy(logs / "2026-03-02.jsonl.gz", young)
    home = str(tmp_path)
    assert command("init", "young", "--source", "canonical", "--input", str(young), FEEDBACK_HOME=home).returncode == 0
    settings = tmp_path / "young" / "desk.yaml"
    settings.write_text(settings.read_text() + "heldout: 0\n")
    done = command("run", FEEDBACK_HOME=home)
    assert done.returncode == 1
    assert "120 │" in done.stderr, "the rows, stage by stage"
    assert "no desirable rows to judge by and no undesirable rows to judge by: of the final labels " in done.stderr
    assert "40 desirable and 10 undesirable labels are provisional and become final 2026-03-09" in done.stderr


def test_relabel_covers_a_range_in_one_run(
    command: Command, environment: dict[str, str], first: dict[str, Any], desk: Path
) -> None:
    version = DeltaTable(desk / "lake" / "labels").version()
    done = command("relabel", "--from", "2026-03-03", "--to", "2026-03-04")
    assert done.returncode == 0, done.stderr
    assert DeltaTable(desk / "lake" / "labels").version() == version + 1, "one commit"
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        [record] = instance.get_run_records(limit=1)
        assert record.dagster_run.job_name == "relabel"


def test_releases_are_promoted_and_rolled_back(command: Command, first: dict[str, Any]) -> None:
    name = Path(first["release"]).name
    assert command("release", "promote", name, "--force").returncode == 0
    assert f"* {name}" in command("release", "list").stdout
    refused = command("release", "promote", "no-such-release")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr


def test_a_refused_training_is_one_sentence(command: Command, desk: Path, first: dict[str, Any]) -> None:
    path = desk / "desk.yaml"
    kept = path.read_text()
    settings = yaml.safe_load(kept)
    try:
        path.write_text(yaml.safe_dump({**settings, "kto": {**settings["kto"], "bata": 1}}))
        misspelt = command("retrain")
        path.write_text(yaml.safe_dump({**settings, "reference": {"model": "/no/such/model"}}))
        missing = command("retrain")
    finally:
        path.write_text(kept)
    for done, said in ((misspelt, "bata"), (missing, "/no/such/model")):
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


# The first stage that writes in the lake what another has read, and the first that has a process of its own.
@pytest.mark.parametrize("stage", ["interactions", "reference_model"])
def test_a_run_keeps_others_out_and_killed_leaves_the_lake_readable_and_is_recorded_as_failed(
    command: Command, environment: dict[str, str], first: dict[str, Any], desk: Path, stage: str
) -> None:
    shutil.rmtree(desk / "models", ignore_errors=True)  # so that there is something left to train
    known = set((desk / "runs").iterdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run"],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    log = ""
    while f"{stage} - STEP_START" not in log and time.monotonic() < deadline:
        time.sleep(0.05)
        for folder in set((desk / "runs").iterdir()) - known:
            log = (folder / "run.log").read_text() if (folder / "run.log").exists() else ""
    assert f"{stage} - STEP_START" in log
    second = command("relabel")
    assert second.returncode == 1
    assert "another run of desk toy is under way: nightly_retrain " in second.stderr
    # The command, the run's process and the training worker, all at once, as a lost machine would.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for table in ("events", "interactions", "labels"):
        assert DeltaTable(desk / "lake" / table).to_pyarrow_table().num_rows > 0
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        [dead] = fail_dead_runs(instance)
        run = instance.get_run_by_id(dead)
        assert run is not None and run.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_is_asked_to_end_says_what_becomes_of_it(
    environment: dict[str, str], first: dict[str, Any], desk: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "feedback_events" in process.stderr.readline()
    process.terminate()
    assert process.stderr.read().endswith("run the same again to finish.\n")
    assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_what_was_killed_is_finished_by_running_again(command: Command, first: dict[str, Any], desk: Path) -> None:
    done = command("run", "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout.splitlines()[-1])

    def lasting(summary: dict[str, Any]) -> dict[str, Any]:
        timed = {"seconds", "step_seconds", "steps_per_second", "tokens_per_second"}
        train = {name: value for name, value in summary["train"].items() if name not in timed}
        return {**summary, "seconds": None, "train": train, "release": None, "as_of": None}

    assert lasting(again) == lasting(first), "and gives what it gave before"
    assert Path(again["release"]).exists()


def test_a_run_that_dagster_was_asked_for_and_any_other_keep_each_other_out(
    command: Command, environment: dict[str, str], first: dict[str, Any], desk: Path
) -> None:
    """Two processes that no queue keeps apart, as `dg launch` starts them, and the command."""

    def launch(job: str, run_id: str) -> subprocess.Popen[str]:
        tags = json.dumps(range_tags(date(2026, 3, 2), date(2026, 3, 4)))
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.launch", job, run_id, tags, "null", "[]"],
            env={**environment, "FEEDBACK_DESK": "toy"}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    run_id = str(uuid.uuid4())
    holder = launch("ingest_logs", run_id)
    try:
        deadline = time.monotonic() + 60
        while run_id not in (desk / ".lock").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        holder.send_signal(signal.SIGSTOP)  # as a long night would, it goes on
        said = f"another run of desk toy is under way: ingest_logs {run_id}, since 20"
        refused = command("relabel")
        assert refused.returncode == 1
        assert said in refused.stderr
        assert f", by process {holder.pid} on " in refused.stderr
        other = launch("relabel", str(uuid.uuid4()))
        log, _ = other.communicate(timeout=120)
        assert other.returncode == 1
        assert said in log
        # What writes nothing of the record goes on.
        assert command("policy", "explain", "d1").returncode == 0
    finally:
        holder.kill()
        holder.wait()
    with hold_desk(Desk(desk.parent, desk.name), run_id="another", job="relabel"):
        pass  # killed, it holds nothing any more
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        assert fail_dead_runs(instance) == [run_id]
