"""`feedback-kto compare`: KTO on all rows against other objectives."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

import kto_core
from desk.desk import Desk
from feedback.exceptions import FeedbackError
from kto_core.base.objective_registry import COMPARED, COMPARED_HELP
from pipelines.output.command_output import print_json


@click.command()
@click.option(
    "--objectives",
    default=",".join(COMPARED),
    show_default=True,
    help=COMPARED_HELP,
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Training runs of each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def compare(objectives: str, seeds: int, as_json: bool) -> None:
    """Train on all rows by KTO, on all rows or the pairs alone by others, and measure them on held-out tickets.

    All start from the active desk's newest reference, learn from its newest training set with its KTO settings, and
    make as many steps of as many completions. Earlier trainings and scores are used again.
    """
    from kto_core.base.progress import TerminalReport
    from kto_core.comparison.comparison_table import show_comparison

    desk = Desk.active()
    reference, training_set = (newest(desk, name) for name in ("reference_model", "training_set"))
    with TerminalReport() as report:
        result = kto_core.compare(
            reference=reference,
            training_set=training_set,
            kto=kto_core.KTOConfig.from_dict(desk.settings.kto),
            objectives=[objective.strip() for objective in objectives.split(",")],
            seeds=seeds,
            evaluation=kto_core.EvaluationConfig.from_dict(desk.settings.evaluation),
            store=desk.models,
            cache=desk.cache,
            out=desk.path / "comparisons",
            report=report,
        )
    console = Console(stderr=as_json)
    show_comparison(result, console)
    console.print(f"{result['folder']}/comparison.png is the figure; comparison.json has the numbers.", soft_wrap=True)
    if as_json:
        print_json(result)


def newest(desk: Desk, name: str) -> Path:
    """Return the folder that an asset made last."""
    try:
        return Path(json.loads((desk.current / f"{name}.json").read_text(encoding="utf-8"))["path"])
    except FileNotFoundError:
        raise FeedbackError(
            f"desk {desk.name} has no {name.replace('_', ' ')} yet; `feedback-kto run --until reference_model` makes it"
        ) from None
