"""`feedback-kto rebuild`, as a person runs it, on a desk that has moved on since."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.sources.raw_files import discover
from feedback.training_set.build import build_training_set
from pipelines.cli.main import main

Command = Callable[..., subprocess.CompletedProcess[str]]
NIGHT = datetime(2026, 3, 13, 2, tzinfo=UTC)
DAYS = [date(2026, 3, 2) + timedelta(days=n) for n in range(12)]


def build(desk: Desk, moment: datetime) -> str:
    """Ingest what is at hand, build all days as of the moment, and return the training set's version."""
    settings = desk.settings
    ingest(desk.lake, desk.source, discover(settings.input, desk.source), DAYS, input_root=settings.input)
    write_interactions(desk.lake, DAYS, as_of=moment)
    write_labels(desk.lake, desk.policy, DAYS, as_of=moment)
    return build_training_set(desk.lake, desk.policy, desk.training_sets, heldout=settings.heldout).version


@pytest.fixture(scope="module")
def desk(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk of a home of its own, before its first night."""
    input = tmp_path_factory.mktemp("raw")
    for file in logs.iterdir():
        (input / file.name).write_bytes(file.read_bytes())
    settings = DeskSettings(source="canonical", input=input, policy="harbor-support.v1", first_day=DAYS[0])
    return Desk.create(tmp_path_factory.mktemp("past"), "past", settings)


@pytest.fixture(scope="module")
def was(desk: Desk) -> str:
    """The training set of a night, on a desk that has moved on since."""
    version = build(desk, NIGHT)
    # Later that year: a log of then is delivered again with more in it, and the policy is another.
    late = {"event_id": "late thumb", "kind": "thumbs_down", "occurred_at": "2026-03-12T20:00:00+00:00"}
    with (desk.settings.input / "2026-03-12.jsonl").open("a") as log:
        log.write(json.dumps(late | {"ticket_id": "t2", "draft_id": "d2"}) + "\n")
    now = Desk.create(desk.home, desk.name, desk.settings.model_copy(update={"policy": "harbor-support.v2"}))
    assert build(now, NIGHT + timedelta(days=9)) != version
    return version


@pytest.fixture
def run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run `rebuild` in this process, since another costs a second."""
    monkeypatch.setenv("FEEDBACK_HOME", str(desk.home))
    return lambda *arguments: main(["rebuild", *arguments])


def test_a_past_night_is_rebuilt_to_the_very_training_set(command: Command, desk: Desk, was: str) -> None:
    live = {path: path.stat().st_mtime_ns for path in desk.lake.root.rglob("*")}

    done = command("rebuild", "--as-of", "2026-03-13T04:00:00+02:00", "--json", FEEDBACK_HOME=str(desk.home))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["training_set"]["version"], said["training_set"]["existed"]) == (was, True)
    assert said["policy"]["version"] == 1
    assert said["days"] | {"recorded": len(said["days"]["recorded"])} == {
        "recorded": 12, "unrecorded": [], "present_events": [], "unlike": [], "unchecked": [],
    }  # fmt: skip
    assert Path(said["lake"]) == desk.path / "replays" / "2026-03-13T02-00-00Z" / "lake"
    assert f"training set {was}: the desk has the same one" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in desk.lake.root.rglob("*")} == live


def test_a_date_is_its_midnight_and_some_days_have_a_folder_of_their_own(
    was: str, run: Callable[..., None], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["--from", "2026-03-02", "--to", "2026-03-04", "--policy", "harbor-support.v2"]):
        run("--as-of", "2026-03-14", *arguments, "--json")
    heard = capsys.readouterr()
    whole, some = (json.loads(line) for line in heard.out.splitlines())
    assert (whole["as_of"], whole["unused_policy"]) == ("2026-03-14T00:00:00+00:00", None)
    assert some["unused_policy"] == "harbor-support.v2"
    assert "--policy harbor-support.v2 labelled nothing" in heard.err
    replays = desk.path / "replays"
    assert Path(whole["lake"]) == replays / "2026-03-14T00-00-00Z" / "lake"
    assert Path(some["lake"]) == replays / "2026-03-14T00-00-00Z_from-2026-03-02_to-2026-03-04" / "lake"
    assert whole["training_set"]["version"] == was
    assert Path(whole["lake"]).is_dir() and Path(some["lake"]).is_dir()


def test_days_that_nothing_had_labelled_are_said_to_be_built_now(
    was: str, run: Callable[..., None], desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """At noon before its first night."""
    run("--as-of", "2026-03-12T12:00:00Z", "--policy", "harbor-support.v1", "--json")
    heard = capsys.readouterr()
    said = json.loads(heard.out)
    assert (said["policy"], said["built_by"]["version"]) == (None, 1)
    assert ", when nothing was labelled yet; built now by harbor-support 1 (" in heard.err
    assert "when it was labelled by" not in heard.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as-of", "2026-03-13T02:00:00"], "needs a time zone, such as 2026-03-13T02:00:00Z"),
        (["--as-of", "yesterday"], "'yesterday' is neither a moment"),
        (
            ["--as-of", "2026-03-13Z"],
            "is neither a moment, such as 2026-10-20T02:00:00Z, nor a date, such as 2026-10-20",
        ),
        (["--as-of", "0001-01-01T00:00:00+05:00"], "is neither a moment"),
        (
            ["--as-of", "2026-03-13", "--from", "2026-03-05", "--to", "2026-03-04"],
            "2026-03-05 is after --to 2026-03-04",
        ),
        (
            ["--as-of", "2026-03-13", "--policy", "star.v"],
            "digits of the digest of a policy that has labelled here; did",
        ),
        (["--as-of", "2999-01-01T00:00:00Z"], "has not come yet"),
        (["--as-of", "2020-01-01T00:00:00Z"], "no draft of those days was known at 2020-01-01 00:00:00 UTC"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    run: Callable[..., None], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code in (1, 2)
    [line] = capsys.readouterr().err.strip().splitlines()
    assert said in line
