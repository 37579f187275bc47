"""Set up the demo's desks: each shipped source, with settings for a release in minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import harbor
from desk.desk import Desk
from desk.settings import DeskSettings, ReferenceSettings
from feedback.exceptions import FeedbackError
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source
from pipelines.runs.follow_run import PROJECT_ROOT, project_environment

HARBOR = "harbor"
# On 2 cores, about two minutes of KTO with the tiny model at these lengths.
_STEPS = 100
_LENGTHS = {"max_prompt_tokens": 96, "max_completion_tokens": 48}
_SFT = {"steps": 250, "batch_rows": 16, **_LENGTHS}
# For replies of about a dozen tokens: see `KTOConfig` on choosing beta.
_KTO = {"beta": 1.0, "undesirable_weight": 0.5, "learning_rate": 3e-4, **_LENGTHS}
_EVALUATION = {"max_rows": 2000, **_LENGTHS}


def harbor_desk(home: Path, steps: int | None) -> Desk:
    """Simulate Harbor Support's month (unless it is there already) and set up its desk."""
    desk = Desk(home, HARBOR)
    simulation = desk.path / "simulation"
    process = subprocess.run(
        [sys.executable, "-m", "harbor", "simulate", "--out", str(simulation), "--models", str(desk.models)],
        cwd=PROJECT_ROOT,
        env=project_environment(home, HARBOR),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if process.returncode:
        raise FeedbackError("Harbor Support could not be simulated; the line above says why")
    summary = json.loads(process.stdout)
    kto = {**harbor.DEMO_KTO, **({"max_steps": steps} if steps else {})}
    return Desk.create(
        home,
        HARBOR,
        DeskSettings(
            source="canonical",
            input=Path(summary["raw"]),
            policy="harbor-support.v1",
            first_day=date.fromisoformat(summary["first_day"]),
            as_of=datetime.fromisoformat(summary["as_of"]),
            reference=ReferenceSettings(rows=summary["transcripts"], sft=dict(harbor.DEMO_SFT)),
            kto=kto,
            truth="harbor",
            audit_simulated=True,
        ),
    )


def source_desk(home: Path, source: str, input: Path, steps: int | None) -> Desk:
    """Set up a desk of real logs, with the policy of the source's name and the tiny model."""
    loaded = load_source(source)
    return Desk.create(
        home,
        loaded.name,
        DeskSettings(
            source=source,
            input=input.resolve(),
            policy=f"{loaded.name}.v1",
            first_day=discover(input.resolve(), loaded)[0].arrival_date,
            reference=ReferenceSettings(sft=_SFT),
            kto={**_KTO, "max_steps": steps or _STEPS},
            evaluation=_EVALUATION,
        ),
    )
