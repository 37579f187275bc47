"""`feedback-kto rebuild`: build past days as they were, in a lake of their own."""

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
    help="A time with its zone, such as 2026-10-20T02:00:00Z, or a date, for its midnight in UTC.",
)
@click.option("--from", "first", type=_DATE, help="First day.  [default: the first that was labelled then]")
@click.option("--to", "last", type=_DATE, help="Last day.  [default: the last that was labelled then]")
@click.option("--policy", help="Policy for days without a record by then: a shipped policy, a YAML file, or a digest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object last, on stdout.")
def rebuild(as_of: str, first: datetime | None, last: datetime | None, policy: str | None, as_json: bool) -> None:
    """Build past days of the active desk as they were at a moment, and the training set that they made.

    Everything goes to replays/<moment> in the desk's folder; --from and --to are part of its name. The desk's own
    tables stay as they are. A run's moment is "as of" in its metadata, and the second `as_of` in a training
    set's manifest.
    """
    from feedback.history.replay import replay

    moment = _moment(as_of)
    if first and last and first > last:
        raise click.UsageError(f"--from {first:%Y-%m-%d} is after --to {last:%Y-%m-%d}; exchange them.")
    desk = Desk.active()
    fallback = find_policy(policy, desk.lake) if policy else desk.policy
    root = desk.path / "replays" / _folder(moment, first, last)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(f"{stage}, {unit}", total=total)
            progress.update(tasks[stage], completed=done)

        past = replay(
            desk.lake,
            root,
            moment=moment,
            policy=fallback,
            first=first and first.date(),
            last=last and last.date(),
            report=report,
        )
    training_set, why_none = _training_set(desk, past, root)
    summary = {
        **_summarise(desk, past, moment, training_set, why_none),
        "built_by": _names(fallback) if past.unrecorded else None,
        "unused_policy": None if past.unrecorded else policy,
    }
    _show(summary, Console(stderr=as_json))
    if as_json:
        print_json(summary)


def _moment(text: str) -> datetime:
    """Return the moment of `--as-of` in UTC; for a date, its midnight."""
    iso = text
    with suppress(ValueError):
        iso = f"{date.fromisoformat(text)}T00:00:00Z"
    try:
        moment = datetime.fromisoformat(iso)
        if moment.tzinfo is None:
            raise click.UsageError(f"--as-of {text} needs a time zone, such as {moment.isoformat()}Z.")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"--as-of {text!r} is neither a moment, such as 2026-10-20T02:00:00Z, nor a date, such as 2026-10-20."
        ) from None
    if moment > datetime.now(UTC):
        raise UsageError(f"{text} has not come yet; name a moment that has passed")
    return moment


def _folder(moment: datetime, first: datetime | None, last: datetime | None) -> str:
    """Return the replay's folder name; a replay of some days does not replace one of all days."""
    named = moment.strftime("%Y-%m-%dT%H-%M-%S" + (".%fZ" if moment.microsecond else "Z"))
    return named + "".join(f"_{side}-{day:%Y-%m-%d}" for side, day in (("from", first), ("to", last)) if day)


def _training_set(desk: Desk, past: Replay, root: Path) -> tuple[TrainingSet | None, str | None]:
    """Return the training set of the labels, or why there is none."""
    from feedback.labels.ledger import days_behind
    from feedback.training_set.build import build_training_set, recorded_audit

    behind, total = days_behind(past.lake, past.policy)
    if behind:
        name = f"{past.policy.name} {past.policy.version}"
        return None, f"{len(behind)} of {total} days were behind {name} then: {say_days(behind)}"
    try:
        sets, heldout = root / "training_sets", desk.settings.heldout
        built = build_training_set(past.lake, past.policy, sets, heldout=heldout)
        # The manifest of that time's training set has the verdicts of that time.
        if (audit := recorded_audit(desk.training_sets, built.path)) is None:
            return built, None
        return build_training_set(past.lake, past.policy, sets, heldout=heldout, audit=audit), None
    except FeedbackError as error:
        return None, str(error)


def _summarise(
    desk: Desk, past: Replay, moment: datetime, training_set: TrainingSet | None, why_none: str | None
) -> dict[str, Any]:
    def listed(days: list[date]) -> list[str]:
        return [day.isoformat() for day in days]

    return {
        "desk": desk.name,
        "as_of": moment.isoformat(),
        "lake": str(past.lake.root),
        "policy": _names(past.policy) if past.recorded else None,
        "days": {
            "recorded": listed(past.recorded),
            "unrecorded": listed(past.unrecorded),
            "present_events": listed(past.present_events),
            "unlike": listed(past.unlike),
            "unchecked": listed(past.unchecked),
        },
        "training_set": None
        if training_set is None
        else {
            "version": training_set.version,
            "path": str(training_set.path),
            "existed": (desk.training_sets / training_set.version / "manifest.json").exists(),
        },
        "no_training_set": why_none,
    }


def _names(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest}


_DAY_WORDS = {
    "recorded": "built as the ledger says",
    "unrecorded": "built as of the moment itself",
    "present_events": "built from the events at hand, since the events that were read then are gone",
    "unlike": "NOT what the labels table held then",
    "unchecked": "not compared with the labels of that time, which are gone",
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
        say(f"--policy {summary['unused_policy']} labelled nothing, since the ledger names a policy for every day")
    for name, words in _DAY_WORDS.items():
        days = [date.fromisoformat(day) for day in summary["days"][name]]
        if days:
            say(f"  {len(days):>5,} days {words}: {say_days(days)}")
    training_set = summary["training_set"]
    if training_set is None:
        say(f"no training set: {summary['no_training_set']}")
    else:
        match = "the desk has the same one" if training_set["existed"] else "the desk does not have it"
        say(f"training set {training_set['version']}: {match}")
        say(f"  {training_set['path']}")
    say(f"lake {summary['lake']}")
