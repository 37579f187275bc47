"""The desk's command: ``python -m harbor simulate`` and ``python -m harbor evaluate``."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from harbor.exceptions import HarborError
from harbor.kpis import DEFAULT_SEED, DEFAULT_TICKETS, KPIS, evaluate
from harbor.simulation import Simulation, simulate
from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import TerminalReport

_DEFAULTS = Simulation()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def desk() -> None:
    """Harbor Support, a simulated support desk whose truth is known."""


@desk.command("simulate")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the logs and the truth.")
@click.option("--models", required=True, type=click.Path(path_type=Path), help="Model store for the copilot.")
@click.option("--tickets", default=_DEFAULTS.tickets, show_default=True, help="Customers who write.")
@click.option("--days", default=_DEFAULTS.days, show_default=True, help="Days of logs.")
@click.option("--seed", default=_DEFAULTS.seed, show_default=True, help="Draws tickets, people and noise.")
@click.option(
    "--last-day",
    type=click.DateTime(["%Y-%m-%d"]),
    default=_DEFAULTS.last_day.isoformat(),
    show_default=True,
    help="Day of the last logs.",
)
def simulate_command(out: Path, models: Path, tickets: int, days: int, seed: int, last_day: datetime) -> None:
    """Teach a copilot, let it draft and people react, and write the logs.

    Prints a JSON summary. The same command finishes an interrupted run.
    """
    simulation = Simulation(tickets=tickets, days=days, seed=seed, last_day=last_day.date())
    with TerminalReport() as report:
        summary = simulate(simulation, out=out, models=models, report=report)
    _print_json(summary)


@desk.command("evaluate")
@click.option("--model", required=True, type=click.Path(path_type=Path), help="Folder of the model.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Folder of a model to compare with.")
@click.option("--tickets", default=DEFAULT_TICKETS, show_default=True, help="Tickets to answer, none of them logged.")
@click.option("--seed", default=DEFAULT_SEED, show_default=True, help="Draws the tickets.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with figures by category, instead of a table.")
def evaluate_command(model: Path, baseline: Path | None, tickets: int, seed: int, as_json: bool) -> None:
    """Measure a model on tickets that were never logged."""
    with TerminalReport() as report:
        result = evaluate(model, baseline, tickets=tickets, seed=seed, report=report)
    if as_json:
        _print_json(result)
        return
    for kpi in KPIS:
        figures = [
            f"{name} {100 * kpis['share']:5.1f} % [{100 * kpis['low']:.1f}, {100 * kpis['high']:.1f}]"
            for name in ("baseline", "model")
            if name in result
            for kpis in [result[name]["kpis"][kpi]]
        ]
        click.echo(f"{kpi:<26}{'   '.join(figures)}")


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code; a user's mistake gives one sentence on stderr."""
    try:
        desk(arguments, prog_name="python -m harbor", standalone_mode=False)
    except click.ClickException as error:
        message = error.format_message()
    except (HarborError, TrainingError) as error:
        message = str(error)
    except click.Abort:
        message = "interrupted; run the same command again to finish"
    else:
        return 0
    click.echo(f"harbor: {message}", err=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
