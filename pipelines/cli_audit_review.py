"""`feedback-kto audit review`, `export` and `import`: how people get to read the audit sample."""

from __future__ import annotations

from pathlib import Path

import click

from assets.desk import Desk
from pipelines.printing import commands

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
