"""A home, a Dagster instance and a tiny log of a desk's own: the parts that a real deployment has."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.forks import forked_python

ROOT = Path(__file__).resolve().parents[2]
FIRST_DAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
QUESTIONS = ("reset my password", "refund my order", "explain my bill", "how soon will you answer")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def make_instance(folder: Path) -> Path:
    """Give the folder the project's dagster.yaml, so that it is an instance of its own."""
    text = (ROOT / "dagster.yaml").read_text().replace(".dagster", str(folder / ".dagster"))
    (folder / "dagster.yaml").write_text(text)
    return folder


@pytest.fixture(scope="session")
def environment(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a command with a home and an instance of its own."""
    return {
        **os.environ,
        "FEEDBACK_HOME": str(home),
        "DAGSTER_HOME": str(make_instance(tmp_path_factory.mktemp("dagster"))),
        "COLUMNS": "120",
        "PYTHONWARNINGS": "ignore",
    }


@pytest.fixture(scope="session")
def shell(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `feedback-kto` as a person would, from a folder that is not the project's."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments],
            env={**environment, "PYTHONPATH": str(ROOT)},
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def command(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `feedback-kto` likewise, but in this process, and fork the process of a run from one that is loaded."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        out, error, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
            for name, value in {**environment, **changed}.items():
                patch.setenv(name, value)
            patch.chdir(elsewhere)
            patch.setattr("pipelines.runs.follow_run.RUN", forked_python("pipelines.launch"))
            try:
                main([*arguments])
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), error.getvalue())

    return run


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of a small desk's logs in the canonical form, one line of them broken, and one line ten days later."""
    folder = tmp_path_factory.mktemp("logs")
    number = 0
    for day in range(3):
        lines = []
        for ticket in range(60):
            number += 1
            shown = FIRST_DAY + timedelta(days=day, minutes=ticket)
            question = QUESTIONS[ticket % 4]
            good = ticket % 3 > 0
            common = {"ticket_id": f"t{number}", "draft_id": f"d{number}", "category": question.split()[1]}
            lines.append(
                {
                    **common, "event_id": f"{number}-shown", "kind": "draft_shown", "occurred_at": shown.isoformat(),
                    "prompt": [{"role": "user", "content": f"please {question} number {number}"}],
                    "completion": f"we will {question} {'today' if good else 'never'} for number {number}",
                }
            )  # fmt: skip
            kind = ("thumbs_up" if good else "thumbs_down") if ticket % 2 else ("accepted" if good else "rejected")
            lines.append(
                {
                    **common,
                    "event_id": f"{number}-{kind}",
                    "kind": kind,
                    "occurred_at": (shown + timedelta(minutes=2)).isoformat(),
                }
            )
        with gzip.open(folder / f"{FIRST_DAY.date() + timedelta(days=day)}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            if day == 1:
                file.write('{"event_id": "cut off", "kind":\n')
                file.write(json.dumps(lines[0]) + "\n")
    # What shows that the days between have been looked at: without it no accept could be final.
    late = FIRST_DAY + timedelta(days=10)
    outcome = {"event_id": "late", "kind": "resolved", "occurred_at": late.isoformat(), "ticket_id": "t2"}
    (folder / f"{late.date()}.jsonl").write_text(json.dumps(outcome) + "\n")
    return folder
