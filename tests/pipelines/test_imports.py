"""Loading the definitions must stay light: the orchestrator never loads what only training needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["pipelines.definitions", "pipelines.cli.main"])
def test_torch_and_friends_are_not_loaded(module: str, tmp_path: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sorted(m for m in sys.modules if '.' not in m))"],
        env={"FEEDBACK_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "dagster" in loaded or module == "pipelines.cli.main"
    heavy = {"torch", "transformers", "accelerate", "peft", "great_expectations", "matplotlib", "sklearn", "optuna"}
    heavy |= {"altair", "sqlalchemy", "statsmodels", "scipy", "cleanlab", "krippendorff"}
    assert heavy.isdisjoint(loaded)


def test_import_rules_hold() -> None:
    done = subprocess.run(["lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={"PATH": str(Path(sys.executable).parent)})  # fmt: skip
    assert done.returncode == 0, done.stdout
