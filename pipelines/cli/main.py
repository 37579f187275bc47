"""The `feedback-kto` command."""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from assets.support.stages import STAGES
from desk.desk import Desk, feedback_home
from desk.settings import DeskSettings, ReferenceSettings
from feedback.exceptions import FeedbackError
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source, shipped_sources
from label_policy import shipped_policies
from pipelines.cli.start import exit_code
from pipelines.output.command_output import commands, print_json, say_home
from pipelines.output.exceptions import USER_ERRORS, UsageError
from pipelines.runs.day_ranges import range_tags
from pipelines.runs.run_job import RunStoppedError, run_job

_DATE = click.DateTime(["%Y-%m-%d"])
_PATH = click.Path(path_type=Path)
_PRESETS = ("tiny", "smollm2")
_ELSEWHERE = {
    "audit": "pipelines.cli.audit_commands",
    "compare": "pipelines.cli.compare_command",
    "policy": "pipelines.cli.policy_commands",
    "rebuild": "pipelines.cli.rebuild_command",
    "release": "pipelines.cli.release_commands",
    "source": "pipelines.cli.source_commands",
    "sweep": "pipelines.cli.sweep_command",
}
"""Commands of other modules, which are loaded when they are called."""


class _Commands(click.Group):
    """The commands here and elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted([*self.commands, *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(_ELSEWHERE[cmd_name]), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--home", type=_PATH, help="Folder that everything lies in.  [default: $FEEDBACK_HOME or ./data]")
@click.version_option(package_name="feedback-kto")
def cli(home: Path | None) -> None:
    """Support feedback in, a KTO-trained and released model out.

    `demo` shows everything on a simulated desk. For logs of your own: write a mapping (`source check`), choose or
    write a label policy (`policy check`), set up a desk (`init`), and `run` it; Dagster then runs it every night.
    """
    say_home(home)
    if home is not None:
        os.environ["FEEDBACK_HOME"] = str(home)


@cli.command()
@click.option(
    "--source", default="harbor", show_default=True, help="harbor (simulated), or the name of a shipped source."
)
@click.option("--input", "input_", type=_PATH, help="Folder of raw logs; harbor makes its own.")
@click.option("--steps", type=click.IntRange(min=1), help="KTO steps; by default about two minutes of them on 2 cores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def demo(source: str, input_: Path | None, steps: int | None, as_json: bool) -> None:
    """From raw log files to a release folder, in minutes, on this machine.

    Each source gets a desk of its own under the home, which becomes the active desk. Everything but training runs on
    all rows. Interrupted, it is finished by running it again.
    """
    from pipelines.cli.demo_desks import HARBOR, harbor_desk, source_desk

    if source == HARBOR:
        if input_ is not None:
            raise click.UsageError("harbor simulates its own logs, so --input makes no sense with it.")
        started = time.monotonic()
        desk = harbor_desk(feedback_home(), steps)
        before = {"simulation": time.monotonic() - started}
    else:
        if input_ is None:
            raise click.UsageError(f"--source {source} needs --input, the folder of its raw logs.")
        desk, before = source_desk(feedback_home(), source, input_, steps), {}
    _finish(desk, before | _run_job(desk, "nightly_retrain", _tags(desk, None, None)), as_json, hints=True)


@cli.command()
@click.argument("name")
@click.option("--source", required=True, help="A mapping: the name of a shipped source, or the path of a SQL file.")
@click.option("--input", "input_", type=_PATH, required=True, help="Folder (or file) of raw logs.")
@click.option("--policy", default="harbor-support.v1", show_default=True, help="A shipped policy, or a YAML file.")
@click.option("--model", default="tiny", show_default=True, help="tiny, smollm2, or a folder that transformers loads.")
@click.option(
    "--sft-rows",
    type=click.Path(exists=True, path_type=Path),
    help="Parquet of prompt and completion for SFT; by default desirable rows.",
)
@click.option("--no-sft", is_flag=True, help="The model is the reference as it is: no SFT.")
@click.option("--force", is_flag=True, help="Write the settings anew where the desk has some already.")
def init(
    name: str,
    source: str,
    input_: Path,
    policy: str,
    model: str,
    sft_rows: Path | None,
    no_sft: bool,
    force: bool,
) -> None:
    """Set up the desk NAME for logs of your own and make it the active one.

    Everything is written to its desk.yaml, which you may edit.
    """
    from feedback.ingest.map_day import check_mapping
    from pipelines.cli.policy_names import find_policy

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise click.UsageError(f"{name!r} cannot name a desk; use letters, digits, - and _.")
    if (feedback_home() / name / "desk.yaml").exists() and not force:
        raise UsageError(
            f"desk {name} is set up already; `feedback-kto use {name}` works on it, --force starts it anew"
        )
    if model not in _PRESETS and not (Path(model) / "config.json").is_file():
        raise UsageError(f"--model {model} is neither {' nor '.join(_PRESETS)} nor a folder with a model's config.json")
    loaded = load_source(source)
    check_mapping(loaded)
    files = discover(input_.resolve(), loaded)
    find_policy(policy, None)
    desk = Desk.create(
        feedback_home(),
        name,
        DeskSettings(
            source=source if source in shipped_sources() else str(loaded.path.resolve()),
            input=input_.resolve(),
            policy=policy if policy in shipped_policies() else str(Path(policy).resolve()),
            first_day=files[0].arrival_date,
            reference=ReferenceSettings(
                model=str(Path(model).resolve()) if Path(model).is_dir() else model,
                rows=str(sft_rows.resolve()) if sft_rows else "training_set",
                sft={"steps": 0} if no_sft else {},
            ),
        ),
    )
    settings = desk.path / "desk.yaml"
    done = f"{settings} is set up for {len(files)} files from {files[0].arrival_date} on"
    click.echo(commands(f"{done}; now `feedback-kto run`."))


@cli.command()
@click.argument("name")
def use(name: str) -> None:
    """Make the desk NAME the one that commands and Dagster work on."""
    Desk(feedback_home(), name).activate()
    click.echo(f"{name} is the active desk")


@cli.command()
@click.option("--from", "first", type=_DATE, help="First day.  [default: the desk's first day]")
@click.option("--to", "last", type=_DATE, help="Last day.  [default: the newest logs', or yesterday]")
@click.option(
    "--until", type=click.Choice(STAGES), default=STAGES[-1], show_default=True, metavar="STAGE",
    help=f"Stop when this is made: {', '.join(STAGES)}.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def run(first: datetime | None, last: datetime | None, until: str, as_json: bool) -> None:
    """The main job on the active desk: raw logs of a range of days, to a release."""
    desk = Desk.active()
    tags = _tags(desk, first and first.date(), last and last.date())
    # Where all are made no stages are picked, so that the run is the same as the schedule's.
    stages = STAGES[: STAGES.index(until) + 1] if until != STAGES[-1] else ()
    _finish(desk, _run_job(desk, "nightly_retrain", tags, stages), as_json)


@cli.command()
@click.option("--from", "first", type=_DATE, help="First day.  [default: the desk's first day]")
@click.option("--to", "last", type=_DATE, help="Last day.  [default: the last with drafts]")
def relabel(first: datetime | None, last: datetime | None) -> None:
    """Label a range of days again in one run, after the policy changed."""
    from feedback.labels.labels import count_labels, labelled_days

    desk = Desk.active()
    stored = labelled_days(desk.lake)
    if stored is None:
        raise FeedbackError(f"{desk.lake.root} holds no interactions to label yet; `feedback-kto run` makes them")
    days = (first.date() if first else stored[0], last.date() if last else stored[1])
    _run_job(desk, "relabel", _range(desk, *days))
    counts = ", ".join(f"{count:,} {label}" for label, count in count_labels(desk.lake, *days).items())
    click.echo(f"{days[0]} to {days[1]} by {desk.policy.name} {desk.policy.version}: {counts}")
    click.echo(commands("`feedback-kto retrain` trains on them"))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def retrain(as_json: bool) -> None:
    """A training set from the labels at hand, and a release from it."""
    desk = Desk.active()
    _finish(desk, _run_job(desk, "retrain", {}), as_json)


def _tags(desk: Desk, first: date | None, last: date | None) -> dict[str, str]:
    """The run tags of a range of days, by default all that the desk has logs for."""
    newest = discover(desk.settings.input, desk.source)[-1].arrival_date
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    if first and not last and first > newest:
        raise UsageError(f"the logs in {desk.settings.input} end on {newest}, before --from {first}")
    return _range(desk, first or desk.settings.first_day, last or min(newest, yesterday))


def _range(desk: Desk, first: date, last: date) -> dict[str, str]:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    if first < desk.settings.first_day:
        raise UsageError(f"{first} is before the desk's first day; set first_day in {desk.path / 'desk.yaml'} earlier")
    if last > yesterday:
        raise UsageError(f"{last} has not ended yet; the last day there can be is {yesterday}")
    if last < first:
        raise UsageError(f"there is no day from {first} to {last}; the desk's first day is {desk.settings.first_day}")
    return range_tags(first, last)


def _run_job(desk: Desk, job: str, tags: dict[str, str], stages: Sequence[str] = ()) -> dict[str, float]:
    # What is wrong with the settings is said before a process is started for it.
    _ = desk.policy, desk.source, desk.settings
    try:
        return run_job(desk, job, tags, stages=stages)
    except RunStoppedError as error:
        # How far the rows came says more than the reason alone.
        if "labels" in error.done or "training_set" in error.done:
            from pipelines.runs.run_view import show_record
            from pipelines.runs.summary import summarise

            show_record(summarise(desk, dict.fromkeys(error.done, 0.0)), Console(stderr=True))
        raise


def _finish(desk: Desk, seconds: dict[str, float], as_json: bool, *, hints: bool = False) -> None:
    from pipelines.runs.run_view import show_summary
    from pipelines.runs.summary import summarise

    summary = summarise(desk, seconds)
    show_summary(summary, desk, Console(stderr=as_json), hints=hints)
    if as_json:
        print_json(summary)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a person's mistake ends in one sentence on stderr and a non-zero exit, never in a traceback."""
    try:
        cli(arguments, prog_name="feedback-kto", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "feedback-kto"
        _stop(f"{where}: {_sentence(error.format_message())} See `{where} --help`.", 2)
    except click.ClickException as error:
        _stop(f"feedback-kto: {_sentence(error.format_message())}", 2)
    except USER_ERRORS as error:
        _stop(f"feedback-kto: {_sentence(str(error))}", 1)
    except OSError as error:
        if error.filename is None:
            raise
        _stop(
            f"feedback-kto: {error.filename}: {error.strerror}; make it readable and writable, or use another --home.",
            1,
        )
    except (click.Abort, KeyboardInterrupt) as interrupt:
        _stop(
            "feedback-kto: interrupted; the lake keeps what was committed, run the same again to finish.",
            exit_code(interrupt.__cause__ or interrupt),  # click makes an Abort of it
        )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."


def _stop(message: str, code: int) -> NoReturn:
    click.echo(commands(message), err=True)
    sys.exit(code)
