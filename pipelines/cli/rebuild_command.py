"""`feedback-kto rebuild`: past days as they were, in a lake of their own."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from desk.desk import Desk
from feedback.exceptions import FeedbackError
from pipelines.cli.policy_names import find_policy
from pipelines.output.command_output import print_json
from pipelines.output.exceptions import UsageError
from pipelines.runs.day_ranges import say_days

if TYPE_CHECKING:
    from feedback.history.replay import Replay
    from feedback.training_set.build import TrainingSet
    from label_policy import Policy

_DATE = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option(
    "--as-of",
    "as_of",
    metavar="MOMENT",
    required=True,
    help="With its time zone, as 2026-10-20T02:00:00Z, or a date, which is its midnight in UTC.",
)
@click.option("--from", "first", type=_DATE, help="First day.  [default: the first that was labelled then]")
@click.option("--to", "last", type=_DATE, help="Last day.  [default: the last that was labelled then]")
@click.option(
    "--policy", help="For days that nothing was recorded of by then: a shipped policy, a YAML file, or a digest."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def rebuild(as_of: str, first: datetime | None, last: datetime | None, policy: str | None, as_json: bool) -> None:
    """Build past days of the active desk as they were at a moment, and the training set that they made.

    Everything goes to replays/<moment> in the desk's folder, with the days in its name where some are asked for; the
    desk's own tables stay as they are. A run's moment is "as of" in its metadata, and the second `as_of` in a training
    set's manifest.
    """
    from feedback.history.replay import replay

    moment = _moment(as_of)
    if first and last and first > last:
        raise click.UsageError(f"--from {first:%Y-%m-%d} is after --to {last:%Y-%m-%d}; exchange them.")
    desk = Desk.active()
    labels_rest = find_policy(policy, desk.lake) if policy else desk.policy
    root = desk.path / "replays" / _folder(moment, first, last)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(f"{stage}, {unit}", total=total)
            progress.update(tasks[stage], completed=done)

        made = replay(
            desk.lake,
            root,
            moment=moment,
            policy=labels_rest,
            first=first and first.date(),
            last=last and last.date(),
            report=report,
        )
    training_set, why_not = _training_set(desk, made, root)
    summary = {
        **_summarise(desk, made, moment, training_set, why_not),
        "built_by": _names(labels_rest) if made.unrecorded else None,
        "unused_policy": None if made.unrecorded else policy,
    }
    _show(summary, Console(stderr=as_json))
    if as_json:
        print_json(summary)


def _moment(text: str) -> datetime:
    """The moment that is asked for, in UTC; of a date alone, its midnight."""
    written = text
    with suppress(ValueError):
        written = f"{date.fromisoformat(text)}T00:00:00Z"
    try:
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is None:
            raise click.UsageError(f"--as-of {text} needs a time zone, such as {moment.isoformat()}Z.")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"--as-of {text!r} is no moment, such as 2026-10-20T02:00:00Z, and no date, such as 2026-10-20."
        ) from None
    if moment > datetime.now(UTC):
        raise UsageError(f"{text} has not come yet; name a moment that has passed")
    return moment


def _folder(moment: datetime, first: datetime | None, last: datetime | None) -> str:
    """Name the replay, so that one of some days does not take the place of one of all."""
    named = moment.strftime("%Y-%m-%dT%H-%M-%S" + (".%fZ" if moment.microsecond else "Z"))
    return named + "".join(f"_{side}-{day:%Y-%m-%d}" for side, day in (("from", first), ("to", last)) if day)


def _training_set(desk: Desk, made: Replay, root: Path) -> tuple[TrainingSet | None, str | None]:
    """The training set that the labels make, or why there is none."""
    from feedback.labels.ledger import days_behind
    from feedback.training_set.build import build_training_set, recorded_audit

    behind, total = days_behind(made.lake, made.policy)
    if behind:
        name = f"{made.policy.name} {made.policy.version}"
        return None, f"{len(behind)} of {total} days were behind {name} then: {say_days(behind)}"
    try:
        sets, heldout = root / "training_sets", desk.settings.heldout
        built = build_training_set(made.lake, made.policy, sets, heldout=heldout)
        # What people said of the labels then is in the manifest of the set that was made then.
        if (audit := recorded_audit(desk.training_sets, built.path)) is None:
            return built, None
        return build_training_set(made.lake, made.policy, sets, heldout=heldout, audit=audit), None
    except FeedbackError as error:
        return None, str(error)


def _summarise(
    desk: Desk, made: Replay, moment: datetime, training_set: TrainingSet | None, why_not: str | None
) -> dict[str, Any]:
    def listed(days: list[date]) -> list[str]:
        return [day.isoformat() for day in days]

    return {
        "desk": desk.name,
        "as_of": moment.isoformat(),
        "lake": str(made.lake.root),
        "policy": _names(made.policy) if made.recorded else None,
        "days": {
            "recorded": listed(made.recorded),
            "unrecorded": listed(made.unrecorded),
            "present_events": listed(made.present_events),
            "unlike": listed(made.unlike),
            "unchecked": listed(made.unchecked),
        },
        "training_set": None
        if training_set is None
        else {
            "version": training_set.version,
            "path": str(training_set.path),
            "existed": (desk.training_sets / training_set.version / "manifest.json").exists(),
        },
        "no_training_set": why_not,
    }


def _names(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest}


_SAID = {
    "recorded": "built as the ledger says",
    "unrecorded": "built as of the moment itself",
    "present_events": "built from the events at hand, since those that were read then are gone",
    "unlike": "NOT what the labels table held then",
    "unchecked": "not compared with the labels of then, which are gone",
}


def _show(summary: dict[str, Any], console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    def named(policy: dict[str, Any]) -> str:
        return f"{policy['name']} {policy['version']} ({policy['digest'][:12]})"

    moment = f"{summary['desk']} as of {summary['as_of']}"
    by, now_by = summary["policy"], summary["built_by"]
    if by:
        say(f"{moment}, when it was labelled by {named(by)}")
    if now_by:
        unlabelled = "the other days had no labels then" if by else f"{moment}, when nothing was labelled yet"
        say(f"{unlabelled}; built now by {named(now_by)}")
    if summary["unused_policy"]:
        say(f"--policy {summary['unused_policy']} labelled nothing, since it is recorded of every day what labelled it")
    for name, said in _SAID.items():
        days = [date.fromisoformat(day) for day in summary["days"][name]]
        if days:
            say(f"  {len(days):>5,} days {said}: {say_days(days)}")
    made = summary["training_set"]
    if made is None:
        say(f"no training set: {summary['no_training_set']}")
    else:
        known = "the very one that the desk has" if made["existed"] else "the desk has no such one"
        say(f"training set {made['version']}: {known}")
        say(f"  {made['path']}")
    say(f"lake {summary['lake']}")
