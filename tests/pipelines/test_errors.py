"""A person's mistake ends in one sentence and a non-zero exit, never in a traceback."""

import subprocess
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
