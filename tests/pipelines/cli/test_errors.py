"""A person's mistake ends in one sentence and a non-zero exit, never in a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--sauce", "star"], "No such option"),
        (["frobnicate"], "No such command"),
        (["demo", "--steps", "0"], "0 is not in the range"),
        (["demo", "--source", "star"], "needs --input"),
        (["demo", "--source", "nosuch", "--input", "."], "There is no source 'nosuch'"),
        (["demo", "--source", "star", "--input", "/nowhere"], "/nowhere does not exist"),
        (["demo", "--input", "."], "simulates its own logs"),
        (["run"], "holds no desk yet"),
        (["policy", "check", "/nowhere.yaml"], "/nowhere.yaml"),
        (["policy", "sql", "harbor-support.v1", "--dialect", "cobol"], "is not one of"),
        (["init", "a desk", "--source", "canonical", "--input", "."], "cannot name a desk"),
        (["init", "desk", "--source", "canonical", "--input", "/nowhere"], "/nowhere does not exist"),
        (["run", "--from", "yesterday"], "does not match the format"),
        (["release", "list"], "holds no desk yet"),
    ],
)
def test_one_sentence(command: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = command(*arguments, FEEDBACK_HOME=str(tmp_path))
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""


def test_a_policy_that_there_is_not_is_answered_with_a_near_one(command: Command, tmp_path: Path, logs: Path) -> None:
    asked = ["init", "desk", "--source", "canonical", "--input", str(logs), "--policy"]
    for name, said in (("harbor-suport.v1", "did you mean harbor-support.v1?"), ("0a1b2c3d", "name one of these.")):
        done = command(*asked, name, FEEDBACK_HOME=str(tmp_path))
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith(f"feedback-kto: '{name}' is neither a file, a shipped policy (") and line.endswith(said)
    assert not (tmp_path / "desk").exists()


def test_one_sentence_is_all_that_a_process_says(shell: Command, tmp_path: Path) -> None:
    done = shell("--home", str(tmp_path), "run")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"feedback-kto: {tmp_path} holds no desk yet; ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["demo"], ["init"], ["run"], ["relabel"], ["retrain"], ["source", "check"], ["policy", "sql"], ["release"]],
)
def test_help_reads_well_at_every_level(command: Command, arguments: list[str]) -> None:
    done = command(*arguments, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert len(done.stdout.splitlines()) > 5
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "is no folder"), ("", "has no dagster.yaml")])
def test_an_instance_that_is_none_is_refused(
    command: Command, tmp_path: Path, logs: Path, folder: str, said: str
) -> None:
    home = str(tmp_path)
    assert command("init", "desk", "--source", "canonical", "--input", str(logs), FEEDBACK_HOME=home).returncode == 0
    done = command("run", FEEDBACK_HOME=home, DAGSTER_HOME=str(tmp_path / folder))
    assert done.returncode == 1
    assert f"DAGSTER_HOME={tmp_path / folder} {said}; copy " in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


_INTERRUPTED_WHILE_LOADING = """
import os, signal, sys
from importlib.abc import MetaPathFinder

class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pipelines.cli.main":
            os.kill(os.getpid(), int(sys.argv[1]))

signal.signal(signal.SIGINT, signal.default_int_handler)  # started in the background, it would be ignored
sys.meta_path.insert(0, Interrupt())
from pipelines.cli.start import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_interrupted_while_it_loads_says_so(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_WHILE_LOADING, str(int(number))],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 128 + number
    assert done.stderr == "feedback-kto: interrupted before anything was begun.\n"
