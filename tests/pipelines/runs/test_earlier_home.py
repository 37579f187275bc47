"""A home that an earlier release made is read as before: nothing is made again, and everything is explained.

`home_of_november_2026.tar.xz` holds the logs and home of a toy desk as the code of that month left them, with what its
commands printed. Its settings still name the training worker by its old module.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.conftest import make_instance

Command = Callable[..., subprocess.CompletedProcess[str]]
ARCHIVE = Path(__file__).with_name("home_of_november_2026.tar.xz")
THERE = "/tmp/oldtoy"  # where the home lay when it was made: its settings and pointers name files there


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(place, filter="data")
    for path in [*place.glob("*.json"), place / "home/toy/desk.yaml", *place.glob("home/toy/current/*.json")]:
        path.write_text(path.read_text().replace(THERE, str(place)).replace("- python\n", f"- {sys.executable}\n"))
    return place


@pytest.fixture(scope="module")
def ask(command: Command, place: Path) -> Callable[..., dict[str, Any]]:
    """What a command prints as JSON on that home, with an instance of its own."""
    (place / "dagster").mkdir()
    folders = {"FEEDBACK_HOME": str(place / "home"), "DAGSTER_HOME": str(make_instance(place / "dagster"))}

    def run(*arguments: str) -> dict[str, Any]:
        done = command(*arguments, "--json", **folders)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    return run


def printed(place: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((place / f"{name}.json").read_text()))


def test_its_audit_and_its_drafts_are_explained_as_before(ask: Callable[..., dict[str, Any]], place: Path) -> None:
    assert ask("audit", "status") == printed(place, "status")
    assert ask("policy", "explain", "d4") == printed(place, "explain")


def test_a_run_makes_the_same_set_and_finds_the_models_that_are_there(
    ask: Callable[..., dict[str, Any]], place: Path
) -> None:
    models = sorted(path.name for path in (place / "home/toy/models").iterdir())
    before, after = printed(place, "run"), ask("run")
    assert sorted(path.name for path in (place / "home/toy/models").iterdir()) == models
    for ours in (before, after):
        ours.pop("seconds")
        ours.pop("release")  # its manifest names the run, so each run has its own
    assert after == before
