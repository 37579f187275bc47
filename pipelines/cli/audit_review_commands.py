"""`feedback-kto audit review`, `export` and `import`: how people get to read the audit sample."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from desk.desk import Desk
from pipelines.output.command_output import commands
from pipelines.output.exceptions import UsageError
from pipelines.output.safe_text import visible

if TYPE_CHECKING:
    from feedback.audits.verdict_import import Imported

_MOST_REFUSED = 20
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("review")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of this machine to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on.  [default: a free one]")
@click.option("--exposed", is_flag=True, help="Allow a --host that other machines reach, unencrypted.")
@click.option("--no-open", is_flag=True, help="Print the address and open no browser.")
def audit_review(host: str, port: int, exposed: bool, no_open: bool) -> None:
    """Read the audit sample in the browser, blind, one row a screen.

    Several people may read at once, each under a name. What the policy says of a row shows once it is judged.
    Every verdict is saved when it is given; Ctrl-C ends the page.
    """
    from pipelines.review.server import serve

    desk = Desk.active()
    given = serve(desk, host=host, port=port, exposed=exposed, opens=not no_open, say=click.echo)
    saved = f"{given:,} verdict{' was' if given == 1 else 's were'} saved" if given else "No verdict was given"
    click.echo(commands(f"\n{saved}; `feedback-kto audit status` says what is left."))


@click.command("export")
@click.argument("file", type=_FILE)
@click.option("--all", "everything", is_flag=True, help="Also what has been read, with who said what of it.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def audit_export(file: Path, everything: bool, force: bool) -> None:
    """Write the rows that lack readers to FILE, for people who read them in a tool of their own.

    FILE.csv is for spreadsheets: fill in verdict (desirable, undesirable or unsure), reason, note and reviewer.
    FILE.json is a list of Label Studio tasks, with its labelling config beside it. Neither holds labels or rules.

    With --all, the verdicts of people go along: in CSV a line for each, in JSON as annotations. Simulated ones do not.
    """
    from feedback.audits.blind_rows import Sample, row_key
    from feedback.audits.sample import unread
    from feedback.audits.sample_export import export_rows, people_verdicts

    desk = Desk.active()
    if file.exists() and not force:
        raise UsageError(f"{file} is there already, maybe with verdicts in it; give another name or --force")
    sample = Sample(desk.lake)
    lacking = {row_key(draft_id) for draft_id in unread(desk.lake)["draft_id"].to_pylist()}
    keys = [key for key in sample if everything or key in lacking]
    if not keys:
        raise UsageError("every row of the sample has been read; --all writes those as well")
    verdicts = people_verdicts(desk.lake, sample) if everything else {}
    written = export_rows(sample, keys, file, verdicts=verdicts)
    rows = f"{_counted(len(keys), 'row')} in {' and '.join(map(str, written))}"
    count = _counted(sum(map(len, verdicts.values())), "verdict")
    click.echo(f"{rows}, with {count} of people on {len(verdicts):,} of them" if everything else rows)
    click.echo(commands(f"`feedback-kto audit import {shlex.quote(str(file))}` takes the verdicts back"))


@click.command("import")
@click.argument("file", type=_FILE)
@click.option("--reviewer", help="Whose the verdicts are that FILE gives to nobody.")
@click.option("--refused", type=_FILE, help="Where refused rows go.  [default: x.refused.csv beside x.csv]")
def audit_import(file: Path, reviewer: str | None, refused: Path | None) -> None:
    """Keep the verdicts in FILE: a filled in export, or what Label Studio exports as JSON, JSON-MIN or CSV.

    Every row is checked. Those that can be kept are; the others are named with all that is wrong, and laid aside in a
    file of the same form, to be mended there and imported. The same file again changes nothing. Exits 1 where a row
    was refused, or no row has a verdict.
    """
    from feedback.audits.verdict_import import import_verdicts

    done = import_verdicts(Desk.active().lake, file, reviewer=reviewer, refused=refused)
    for row in done.refused[:_MOST_REFUSED]:
        for fault in row.faults:
            click.echo(f"{file}, {row.where}: {visible(fault)}", err=True)
    if len(done.refused) > _MOST_REFUSED:
        more = len(done.refused) - _MOST_REFUSED
        click.echo(f"and {_counted(more, 'more row')} {_was(more)} refused", err=True)
    counts = {
        "kept": done.recorded,
        "known already": done.known,
        "not judged": done.blank,
        "refused": len(done.refused),
    }
    click.echo(", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "0 kept")
    if done.changed:
        said = f"{done.changed:,} of those known already {_was(done.changed)} changed or taken back since"
        click.echo(f"{said} by who gave {'it' if done.changed == 1 else 'them'}, and so it stays")
    _say_what_is_to_do(file, done)


def _say_what_is_to_do(file: Path, done: Imported) -> None:
    """Raise what ends the command with a 1, if anything does."""
    if done.refused:
        count, aside = len(done.refused), shlex.quote(str(done.aside))
        refused = f"{_counted(count, 'row')} of {file} {_was(count)} refused"
        kept = f"{_counted(done.recorded, 'verdict')} in other rows {_was(done.recorded)} kept"
        todo = f"mend what {done.aside} says and `feedback-kto audit import {aside}`"
        raise UsageError(f"{refused}, {kept if done.recorded else 'and nothing new was kept'}; {todo}")
    if done.blank and not done.known and not done.recorded:
        raise UsageError(f"no row of {file} has a verdict yet; {done.how}")
    if not done.known and not done.recorded:
        raise UsageError(f"{file} holds no rows; `feedback-kto audit export` writes some")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
