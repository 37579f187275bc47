"""`feedback-kto audit review`, `export` and `import`: how people get to read the audit sample."""

from __future__ import annotations

from pathlib import Path

import click

from assets.desk import Desk
from pipelines.exceptions import UsageError
from pipelines.printing import commands
from pipelines.texts import visible

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
@click.option("--all", "everything", is_flag=True, help="Also what has been read already.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def audit_export(file: Path, everything: bool, force: bool) -> None:
    """Write the rows that lack readers to FILE, for people who read them in a tool of their own.

    FILE.csv is for spreadsheets: fill in verdict (desirable, undesirable or unsure), reason, note and reviewer.
    FILE.json is a list of Label Studio tasks, with its labelling config beside it. Neither holds labels or rules.
    """
    from feedback.audit import unread
    from feedback.audit_exchange import export_rows
    from feedback.audit_rows import Sample, row_key

    desk = Desk.active()
    if file.exists() and not force:
        raise UsageError(f"{file} is there already, maybe with verdicts in it; give another name or --force")
    sample = Sample(desk.lake)
    lacking = {row_key(draft_id) for draft_id in unread(desk.lake)["draft_id"].to_pylist()}
    keys = [key for key in sample if everything or key in lacking]
    if not keys:
        raise UsageError("every row of the sample has been read; --all writes those as well")
    written = export_rows(sample, keys, file)
    click.echo(f"{len(keys):,} row{'' if len(keys) == 1 else 's'} in {' and '.join(map(str, written))}")
    click.echo(commands(f"`feedback-kto audit import {file}` takes the verdicts back"))


@click.command("import")
@click.argument("file", type=_FILE)
@click.option("--reviewer", help="Whose the verdicts are that FILE gives to nobody.")
def audit_import(file: Path, reviewer: str | None) -> None:
    """Keep the verdicts in FILE: a filled in export, or what Label Studio exports as JSON.

    Every row is checked. Those that can be kept are, the others are named with what is wrong; the same file again
    changes nothing. Exits 1 only where no row could be used.
    """
    from feedback.audit_import import import_verdicts

    done = import_verdicts(Desk.active().lake, file, reviewer=reviewer)
    for where, why in done.refused[:_MOST_REFUSED]:
        click.echo(f"{file}, {where}: {visible(why)}", err=True)
    if len(done.refused) > _MOST_REFUSED:
        click.echo(f"and {len(done.refused) - _MOST_REFUSED:,} more rows were refused", err=True)
    counts = {
        "kept": done.recorded,
        "known already": done.known,
        "not judged": done.blank,
        "refused": len(done.refused),
    }
    click.echo(", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "0 kept")
    if not (done.recorded or done.known):
        raise UsageError(f"{file} holds no verdict that could be kept; see what is wrong with its rows, or fill it in")
