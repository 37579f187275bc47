"""`feedback-kto rebuild`, as a person runs it, on a desk that has moved on since."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from assets.desk import Desk, DeskSettings
from feedback.ingest import ingest
from feedback.interactions import write_interactions
from feedback.labelling import write_labels
from feedback.rawfiles import discover
from feedback.training_set import build_training_set

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


def test_a_past_night_is_rebuilt_to_the_very_training_set(command: Command, desk: Desk) -> None:
    was = build(desk, NIGHT)
    # Later that year: a log of then is delivered again with more in it, and the policy is another.
    late = {"event_id": "late thumb", "kind": "thumbs_down", "occurred_at": "2026-03-12T20:00:00+00:00"}
    with (desk.settings.input / "2026-03-12.jsonl").open("a") as log:
        log.write(json.dumps(late | {"ticket_id": "t2", "draft_id": "d2"}) + "\n")
    now = Desk.create(desk.home, desk.name, desk.settings.model_copy(update={"policy": "harbor-support.v2"}))
    assert build(now, NIGHT + timedelta(days=9)) != was
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
    assert f"training set {was}: the very one that the desk has" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in desk.lake.root.rglob("*")} == live


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--as-of", "2026-03-13T02:00:00"], "needs a time zone, such as 2026-03-13T02:00:00Z"),
        (["--as-of", "yesterday"], "'yesterday' is no moment"),
        (["--as-of", "2999-01-01T00:00:00Z"], "has not come yet"),
        (["--as-of", "2020-01-01T00:00:00Z"], "no draft of those days was known at 2020-01-01 00:00:00 UTC"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    command: Command, desk: Desk, arguments: list[str], said: str
) -> None:
    done = command("rebuild", *arguments, FEEDBACK_HOME=str(desk.home))
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
