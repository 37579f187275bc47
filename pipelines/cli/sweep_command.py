"""`feedback-kto sweep`: train KTO at other β, λ_U and learning rates, on the active desk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.console import Console

import kto_core
from desk.desk import Desk
from kto_core.base.figures import DECIDING_FIGURE, SWEEP_FIGURES
from pipelines.cli.compare_command import newest
from pipelines.output.command_output import print_json

if TYPE_CHECKING:
    from kto_core.base.progress import Report
    from kto_core.sweep.trials import Task


@click.command()
@click.option("--beta", help="Values of β, as 0.05,0.1,0.3.  [a third of the desk's, the desk's, three times it]")
@click.option("--undesirable-weight", help="Values of λ_U, as 0.5,1,1.8.  [half the desk's, the desk's, twice it]")
@click.option("--learning-rate", help="Values of the learning rate.  [the desk's]")
@click.option(
    "--sampler",
    type=click.Choice(["grid", "tpe"]),
    default="grid",
    show_default=True,
    help="grid: every combination. tpe: draws between the least and the largest values, near the best trials.",
)
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all.  [every combination, or 20 draws]")
@click.option("--steps", type=click.IntRange(min=1), help="KTO steps of each trial.  [the desk's]")
@click.option(
    "--objective",
    default=DECIDING_FIGURE,
    show_default=True,
    help=f"Measure that decides which is best: {', '.join(SWEEP_FIGURES)}, or a KPI of the desk.",
)
@click.option("--keep-all", is_flag=True, help="Keep every trial's weights, not only the best one's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def sweep(
    beta: str | None,
    undesirable_weight: str | None,
    learning_rate: str | None,
    sampler: Literal["grid", "tpe"],
    trials: int | None,
    steps: int | None,
    objective: str,
    keep_all: bool,
    as_json: bool,
) -> None:
    """Train at other β, λ_U and learning rates, and measure each candidate on held-out tickets.

    All start from the active desk's newest reference and learn from its newest training set, with its KTO settings
    apart from those that are swept. To finish an interrupted sweep, run it again.
    """
    from kto_core.base.progress import TerminalReport
    from kto_core.sweep.space import parse_space
    from kto_core.sweep.sweep_table import show_sweep

    desk = Desk.active()
    reference, training_set = (newest(desk, name) for name in ("reference_model", "training_set"))
    base = kto_core.KTOConfig.from_dict(desk.settings.kto)
    if steps is not None:
        base = base.replace(max_steps=steps)
    swept = {"beta": beta, "undesirable_weight": undesirable_weight, "learning_rate": learning_rate}
    with TerminalReport() as report:
        result = kto_core.run_sweep(
            reference=reference,
            training_set=training_set,
            config=base,
            space=parse_space(swept, base),
            sampler=sampler,
            trials=trials,
            objective=objective,
            evaluation=kto_core.EvaluationConfig.from_dict(desk.settings.evaluation),
            task=_harbor() if desk.settings.truth == "harbor" else None,
            cache=desk.cache,
            out=desk.path / "sweeps",
            keep_all=keep_all,
            report=report,
        )
    console = Console(stderr=as_json)
    show_sweep(result, console)
    console.print(f"{result['folder']}/sweep.png is the figure; sweep.json has the numbers.", soft_wrap=True)
    if as_json:
        print_json(result)


def _harbor() -> Task:
    """Return the task that measures a support lead's figures, on tickets whose right reply is known."""
    import harbor
    from kto_core.sweep.trials import Task

    def measure(model: Path, report: Report) -> Mapping[str, float]:
        kpis = harbor.evaluate(model, report=report)["model"]["kpis"]
        return {name: kpis[name]["share"] for name in _HARBOR}

    return Task(name="harbor", kpis=_HARBOR, measure=measure)


# Whether a high share is good.
_HARBOR = {"first_contact_resolution": True, "invented_policy": False, "wrong_route": False}
