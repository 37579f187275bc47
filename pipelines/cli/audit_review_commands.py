"""`feedback-kto audit review`, `export` and `import`: let people read the audit sample, here or elsewhere."""

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

    Several people may read at once, each under a name. The policy's label of a row shows after the verdict.
    Every verdict is saved at once; Ctrl-C ends the page.
    """
    from pipelines.review.server import serve

    desk = Desk.active()
    count = serve(desk, host=host, port=port, exposed=exposed, opens=not no_open, say=click.echo)
    saved = f"{_counted(count, 'verdict')} {_was(count)} saved" if count else "No verdict was given"
    click.echo(commands(f"\n{saved}; `feedback-kto audit status` says what is left."))


@click.command("export")
@click.argument("file", type=_FILE)
@click.option("--all", "everything", is_flag=True, help="Write the rows that are read too, with their verdicts.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def audit_export(file: Path, everything: bool, force: bool) -> None:
    """Write the rows that lack readers to FILE, for people who read them in a tool of their own.

    FILE.csv is for spreadsheets: fill in verdict (desirable, undesirable or unsure), reason, note and reviewer.
    FILE.json is a list of Label Studio tasks, with its labelling config beside it. Neither holds labels or rules.

    --all adds the verdicts of people: a line each in CSV, annotations in JSON. It adds no simulated verdicts.
    """
    from feedback.audits.blind_rows import Sample, row_key
    from feedback.audits.sample import unread
    from feedback.audits.sample_export import export_rows, people_verdicts

    desk = Desk.active()
    if file.exists() and not force:
        raise UsageError(f"{file} exists already and may hold verdicts; give another name or --force")
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
@click.option("--reviewer", help="Reviewer of the verdicts that have none in FILE.")
@click.option("--refused", type=_FILE, help="File for refused rows.  [default: x.refused.csv beside x.csv]")
def audit_import(file: Path, reviewer: str | None, refused: Path | None) -> None:
    """Keep the verdicts in FILE: a filled in export, or Label Studio's export as JSON, JSON-MIN or CSV.

    Every row is checked, and valid rows are kept. The others are refused: they are printed with all their faults, and
    written to a file of the same form, to be corrected there and imported. The same file again changes nothing. Exits
    1 where a row was refused, or no row has a verdict.
    """
    from feedback.audits.verdict_import import import_verdicts

    imported = import_verdicts(Desk.active().lake, file, reviewer=reviewer, refused=refused)
    for row in imported.refused[:_MOST_REFUSED]:
        for fault in row.faults:
            click.echo(f"{file}, {row.where}: {visible(fault)}", err=True)
    if len(imported.refused) > _MOST_REFUSED:
        more = len(imported.refused) - _MOST_REFUSED
        click.echo(f"and {_counted(more, 'more row')} {_was(more)} refused", err=True)
    counts = {
        "kept": imported.recorded,
        "known already": imported.known,
        "not judged": imported.blank,
        "refused": len(imported.refused),
    }
    click.echo(", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count) or "0 kept")
    if changed := imported.changed:
        who, stay = ("its reviewer", "stays") if changed == 1 else ("their reviewers", "stay")
        known = f"{changed:,} of those known already {_was(changed)}"
        click.echo(f"{known} changed or taken back since by {who}, and {stay} so")
    _check(file, imported)


def _check(file: Path, imported: Imported) -> None:
    """Raise UsageError where a row was refused, or no row has a verdict."""
    if imported.refused:
        count, aside = len(imported.refused), shlex.quote(str(imported.aside))
        refused = f"{_counted(count, 'row')} of {file} {_was(count)} refused"
        kept = f"{_counted(imported.recorded, 'verdict')} in other rows {_was(imported.recorded)} kept"
        todo = f"correct {imported.aside} and `feedback-kto audit import {aside}`"
        raise UsageError(f"{refused}, {kept if imported.recorded else 'and nothing new was kept'}; {todo}")
    if imported.blank and not imported.known and not imported.recorded:
        raise UsageError(f"no row of {file} has a verdict yet; {imported.how}")
    if not imported.known and not imported.recorded:
        raise UsageError(f"{file} holds no rows; `feedback-kto audit export` writes some")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
