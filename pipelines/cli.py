"""The `feedback-kto` command."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from assets.desk import Desk, DeskSettings, ReferenceSettings, feedback_home, policy_path
from feedback.exceptions import FeedbackError
from feedback.mapping import map_day
from feedback.rawfiles import discover
from feedback.sources import load_source, shipped_sources
from label_policy import DIALECTS, compile_policy, load_policy, shipped_policies
from pipelines.exceptions import USER_ERRORS, UsageError

_DATE = click.DateTime(["%Y-%m-%d"])
_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--home", type=_PATH, help="Folder that everything lies in.  [default: $FEEDBACK_HOME or ./data]")
@click.version_option(package_name="feedback-kto")
def cli(home: Path | None) -> None:
    """Support feedback in, a KTO-trained and released model out.

    `demo` shows everything on a simulated desk. For logs of your own: write a mapping (`source check`), choose or
    write a label policy (`policy check`), set up a desk (`init`), and `run` it; Dagster then runs it every night.
    """
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
    from pipelines.demo import HARBOR, harbor_desk, source_desk

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
    _finish(desk, before | _run_job(desk, "nightly_retrain", _tags(desk, None, None)), as_json)


@cli.command()
@click.argument("name")
@click.option("--source", required=True, help="A mapping: the name of a shipped source, or the path of a SQL file.")
@click.option("--input", "input_", type=_PATH, required=True, help="Folder (or file) of raw logs.")
@click.option("--policy", default="harbor-support.v1", show_default=True, help="A shipped policy, or a YAML file.")
@click.option("--model", default="tiny", show_default=True, help="tiny, smollm2, or a folder that transformers loads.")
@click.option("--sft-rows", type=_PATH, help="Parquet of prompt and completion for SFT; by default desirable rows.")
@click.option("--no-sft", is_flag=True, help="The model is the reference as it is: no SFT.")
def init(name: str, source: str, input_: Path, policy: str, model: str, sft_rows: Path | None, no_sft: bool) -> None:
    """Set up the desk NAME for logs of your own and make it the active one.

    Everything is written to its desk.yaml, which you may edit.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise click.UsageError(f"{name!r} cannot name a desk; use letters, digits, - and _.")
    loaded, files = load_source(source), discover(input_.resolve(), load_source(source))
    load_policy(policy_path(policy))
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
    click.echo(f"{settings} is set up for {len(files)} files from {files[0].arrival_date} on; now `feedback-kto run`.")


@cli.command()
@click.option("--from", "first", type=_DATE, help="First day.  [default: the desk's first day]")
@click.option("--to", "last", type=_DATE, help="Last day.  [default: the newest logs', or yesterday]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def run(first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """The main job on the active desk: raw logs of a range of days, to a release."""
    desk = Desk.active()
    _finish(desk, _run_job(desk, "nightly_retrain", _tags(desk, first and first.date(), last and last.date())), as_json)


@cli.command()
@click.option("--from", "first", type=_DATE, help="First day.  [default: the desk's first day]")
@click.option("--to", "last", type=_DATE, help="Last day.  [default: the newest logs', or yesterday]")
def relabel(first: datetime | None, last: datetime | None) -> None:
    """Label a range of days again in one run, after the policy changed."""
    desk = Desk.active()
    _run_job(desk, "relabel", _tags(desk, first and first.date(), last and last.date()))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def retrain(as_json: bool) -> None:
    """A training set from the labels at hand, and a release from it."""
    desk = Desk.active()
    _finish(desk, _run_job(desk, "retrain", {}), as_json)


@cli.group()
def source() -> None:
    """Mappings from raw logs to events."""


@source.command("list")
def source_list() -> None:
    """The sources that come with the project."""
    for name, path in shipped_sources().items():
        click.echo(f"{name:<12} {load_source(name).description}  ({path})")


@source.command("check")
@click.argument("mapping")
@click.option("--input", "input_", type=_PATH, required=True, help="Folder (or file) of raw logs.")
@click.option("--day", type=_DATE, help="Arrival day to try.  [default: the first]")
def source_check(mapping: str, input_: Path, day: datetime | None) -> None:
    """Run a mapping over one arrival day and show what it gives, without writing anything."""
    loaded = load_source(mapping)
    files = discover(input_, loaded)
    wanted = day.date() if day else files[0].arrival_date
    batch = [file for file in files if file.arrival_date == wanted]
    if not batch:
        raise UsageError(
            f"no file in {input_} arrived on {wanted}; the days are {files[0].arrival_date} to {files[-1].arrival_date}"
        )
    mapped = map_day(loaded, batch, input_root=input_)
    books = {
        name: sum(mapped.books.column(name).to_pylist())
        for name in ("lines", "mapped", "ignored", "quarantined", "events")
    }
    click.echo(f"{wanted}: " + ", ".join(f"{count:,} {name}" for name, count in books.items()))
    for item in mapped.events.column("kind").value_counts().to_pylist():
        click.echo(f"  {item['counts']:>9,} {item['values']}")
    for row in mapped.quarantine.slice(0, 5).to_pylist():
        click.echo(f"  quarantined: {row['file']} line {row['line'] or '-'}: {row['reason']}")
    for row in mapped.events.slice(0, 1).to_pylist():
        click.echo("the first event:\n" + json.dumps(row, indent=2, default=str, ensure_ascii=False)[:4000])


@cli.group()
def policy() -> None:
    """Label policies: what counts as a good draft."""


@policy.command("list")
def policy_list() -> None:
    """The policies that come with the project."""
    for name, path in shipped_policies().items():
        click.echo(f"{name:<20} {load_policy(path).description.strip().splitlines()[0]}  ({path})")


@policy.command("check")
@click.argument("file")
def policy_check(file: str) -> None:
    """Check a policy (a YAML file, or a shipped one's name) and print its rules in their order."""
    loaded = load_policy(policy_path(file))
    click.echo(f"{loaded.name} {loaded.version}, digest {loaded.digest[:16]}: {len(loaded.rules)} rules")
    for rule in loaded.rules:
        when = " ".join(rule.when.split())
        click.echo(f"  {rule.id:<28} {rule.label:<12} {rule.tier or '':<9} {rule.weight:<5g} when {when}")


@policy.command("sql")
@click.argument("file")
@click.option("--dialect", type=click.Choice(sorted(DIALECTS)), default="duckdb", show_default=True)
def policy_sql(file: str, dialect: str) -> None:
    """Print the SELECT that a policy compiles to."""
    click.echo(compile_policy(load_policy(policy_path(file)), dialect=dialect))


@cli.group()
def release() -> None:
    """Released models."""


@release.command("list")
def release_list() -> None:
    """The active desk's releases, the champion marked."""
    import kto_core

    desk = Desk.active()
    champion = kto_core.champion(desk.releases)
    names = sorted(path.name for path in desk.releases.glob("*/") if (path / "manifest.json").exists())
    if not names:
        raise FeedbackError(f"{desk.releases} holds no release yet; `feedback-kto run` makes one")
    for name in names:
        click.echo(f"{'*' if champion and name == champion.name else ' '} {name}  {desk.releases / name}")


@release.command("promote")
@click.argument("release_id")
@click.option("--force", is_flag=True, help="Take a release whose gate did not pass.")
def release_promote(release_id: str, force: bool) -> None:
    """Make a release the champion."""
    import kto_core

    kto_core.promote(Desk.active().releases, release_id, force=force)
    click.echo(f"{release_id} is the champion")


@release.command("rollback")
def release_rollback() -> None:
    """Make the champion before this one the champion again."""
    import kto_core

    click.echo(f"{kto_core.rollback(Desk.active().releases).name} is the champion again")


def _tags(desk: Desk, first: date | None, last: date | None) -> dict[str, str]:
    """The run tags of a range of days, by default all that the desk has logs for."""
    from pipelines.ranges import range_tags

    settings = desk.settings
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    newest = discover(settings.input, desk.source)[-1].arrival_date
    first, last = first or settings.first_day, last or min(newest, yesterday)
    if first < settings.first_day:
        raise UsageError(f"{first} is before the desk's first day; set first_day in {desk.path / 'desk.yaml'} earlier")
    if last > yesterday:
        raise UsageError(f"{last} has not ended yet; the last day there can be is {yesterday}")
    if last < first:
        raise UsageError(f"there is no day from {first} to {last}; give --from no later than --to")
    return range_tags(first, last)


def _run_job(desk: Desk, job: str, tags: dict[str, str]) -> dict[str, float]:
    """Run a job while showing it; returns seconds by stage. Raises FeedbackError with the run's own reason."""
    from pipelines.follow import follow
    from pipelines.view import show_run

    # What is wrong with the settings is said before a process is started for it.
    _ = desk.policy, desk.source, desk.settings
    console = Console(stderr=True)
    seen = show_run(follow(desk, job, tags), console)
    for warning in seen.warnings:
        console.print(f"[yellow]![/] {warning}", highlight=False, soft_wrap=True)
    if seen.error is not None:
        raise FeedbackError(seen.error)
    return {stage.name: stage.seconds for stage in seen.stages.values()}


def _finish(desk: Desk, seconds: dict[str, float], as_json: bool) -> None:
    from pipelines.summary import summarise
    from pipelines.view import show_summary

    summary = summarise(desk, seconds)
    show_summary(summary, desk, Console(stderr=as_json))
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))


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
    except (click.Abort, KeyboardInterrupt):
        _stop("feedback-kto: interrupted; the lake keeps what was committed, run the same again to finish.", 130)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _stop(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)
