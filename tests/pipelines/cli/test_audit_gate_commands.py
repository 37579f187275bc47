"""The audit's gate in real runs: it stops training in its own run and in later ones; verdicts or people open it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.audits.sample import write_audit_sample
from feedback.audits.verdicts import Verdict, append_verdicts
from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.sources.raw_files import discover
from feedback.training_set.build import build_training_set
from pipelines.cli.main import cli
from pipelines.runs.run_job import RunStoppedError, run_job
from tests.forks import forked_python

Command = Callable[..., subprocess.CompletedProcess[str]]
DAYS = [date(2026, 3, 2) + timedelta(days=n) for n in range(12)]
TOY = {"layers": 1, "width": 32, "heads": 2, "vocabulary": 320}


@pytest.fixture(scope="module")
def desk(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with labels that nobody has read, by a policy that asks for an audit."""
    settings = DeskSettings(
        source="canonical", input=logs, policy="harbor-support.v1", first_day=DAYS[0], heldout=0.3,
        as_of=datetime(2026, 3, 13, 2, tzinfo=UTC), reference={"sft": {"steps": 1, "batch_rows": 4, "tiny": TOY}},
        kto={"max_steps": 1, "group_rows": 4, "batch_groups": 1, "beta": 1.0},
        launcher=forked_python("training_worker"),
    )  # fmt: skip
    made = Desk.create(tmp_path_factory.mktemp("audited"), "audited", settings)
    ingest(made.lake, made.source, discover(logs, made.source), DAYS, input_root=logs)
    write_interactions(made.lake, DAYS, as_of=settings.as_of)
    write_labels(made.lake, made.policy, DAYS, as_of=settings.as_of)
    return made


@pytest.fixture(scope="module")
def run(desk: Desk, command: Command) -> Command:
    return lambda *arguments: command(*arguments, FEEDBACK_HOME=str(desk.home))


@pytest.fixture
def in_environment(desk: Desk, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {**environment, "FEEDBACK_HOME": str(desk.home)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipelines.runs.follow_run.RUN", forked_python("pipelines.launch"))
    yield


@pytest.fixture(scope="module")
def closed(desk: Desk, run: Command) -> dict[str, object]:
    """The manifest of the set that is written although it may not train."""
    done = run("retrain")
    assert done.returncode == 1
    assert (
        "120 desirable (of 120) and 60 undesirable (of 60) rows that the policy asks for are still to be" in done.stderr
    )
    assert "`feedback-kto audit review` shows them" in done.stderr
    return manifest_of(desk)


def manifest_of(desk: Desk) -> dict[str, object]:
    made = json.loads((desk.current / "training_set.json").read_text())
    return dict(json.loads((Path(made["path"]) / "manifest.json").read_text()))


def test_a_closed_gate_stops_training_in_its_own_run(closed: dict[str, object], desk: Desk) -> None:
    gate = closed["audit"]["gate"]
    assert (gate["asked"], gate["passed"]) == (True, False)
    assert gate["missing"] == {"desirable": 120, "undesirable": 60}
    assert not desk.models.exists(), "nothing was trained"


@pytest.mark.parametrize("stage", ["reference_model"])
def test_a_later_run_without_the_check_is_refused_by_training_itself(
    closed: dict[str, object], desk: Desk, stage: str, in_environment: None
) -> None:
    assert closed["version"]
    with pytest.raises(RunStoppedError, match="may not train, since its audit's gate is closed: 120 desirable"):
        run_job(desk, "retrain", {}, stages=[stage])
    assert not any(desk.models.glob("*/training.json"))


def test_who_overrides_it_is_in_manifest_and_model_card(closed: dict[str, object], desk: Desk, run: Command) -> None:
    assert "--who" in run("audit", "override", "--why", "x").stderr
    done = run("audit", "override", "--who", "Ann Lee", "--why", "the launch", "--tier", "weak", "--days", "2")
    assert "for tier weak of harbor-support 1" in done.stdout
    assert json.loads(run("audit", "report", "--json").stdout)["gate"]["passed"] is False, "rows are still missing"
    done = run("audit", "override", "--who", "Ann Lee", "--why", "the launch", "--days", "2")
    assert done.returncode == 0 and "every tier" in done.stdout
    Desk.create(desk.home, desk.name, desk.settings.model_copy(update={"launcher": ()}))  # once by the default one
    done = run("retrain")
    assert done.returncode == 0, done.stderr
    opened = manifest_of(desk)
    gate = opened["audit"]["gate"]
    assert gate["passed"] and (gate["override"]["who"], gate["override"]["why"]) == ("Ann Lee", "the launch")
    assert gate["overridden"] and not gate["reasons"]
    assert opened["version"] != closed["version"], "the same rows, which may train now, are another set"
    [card] = desk.releases.glob("*/README.md")
    assert "**audit overridden** | Ann Lee" in card.read_text()


def test_verdicts_open_it_leave_out_what_fails_and_weigh_rows(
    closed: dict[str, object], desk: Desk, run: Command, in_environment: None
) -> None:
    rows = write_audit_sample(desk.lake, desk.policy, seed=0).to_pylist()
    other = {"desirable": "undesirable", "undesirable": "desirable"}
    append_verdicts(
        desk.lake,
        [
            Verdict(
                draft_id=row["draft_id"], reviewer="Bo",
                verdict=other[row["label"]] if row["tier"] == "strong" and place % 2 else row["label"],
            )
            for place, row in enumerate(rows)
        ],
        origin="review",
    )  # fmt: skip
    (desk.lake.root / "overrides").rename(desk.lake.root.parent / "overrides aside")
    done = run("audit", "report", "--json")
    said = json.loads(done.stdout)
    assert said["gate"]["passed"] and said["gate"]["excluded"] == ["strong"]
    assert said["tier"]["explicit"]["precision"] == 1 and 0.3 < said["tier"]["strong"]["precision"] < 0.7
    manifest = build_training_set(desk.lake, desk.policy, desk.training_sets, heldout=0.3).manifest
    assert manifest["left_out"]["tier failed its audit"] == 90
    assert set(manifest["counts"]["tier"]) == {"explicit"}
    assert manifest["audit"]["precision"]["desirable"]["precision"] == 1.0
    assert manifest["audit"]["simulated"] is False

    # The newest set that a run made had its gate opened by hand; a row is told what holds now.
    assert manifest_of(desk)["audit"]["gate"]["excluded"] == []
    strong = next(row["draft_id"] for row in rows if row["tier"] == "strong")
    said = json.loads(CliRunner().invoke(cli, ["policy", "explain", strong, "--json"]).stdout)
    assert said["gate"]["tiers"]["strong"]["outcome"] == "failed" and not said["trains"]
    assert said["standing"]["fate"] == "tier failed its audit"
    assert [(each["reviewer"], each["why_not"]) for each in said["readings"]] == [("Bo", None)]
