"""`feedback-kto release`: list, promote and roll back released models."""

from __future__ import annotations

import click

import kto_core
from desk.desk import Desk
from feedback.exceptions import FeedbackError


@click.group()
def release() -> None:
    """Released models."""


@release.command("list")
def release_list() -> None:
    """List the active desk's releases; an asterisk marks the champion."""
    desk = Desk.active()
    champion = kto_core.champion(desk.releases)
    names = sorted(path.name for path in desk.releases.glob("*/") if (path / "manifest.json").exists())
    if not names:
        raise FeedbackError(f"{desk.releases} holds no release yet; `feedback-kto run` makes one")
    for name in names:
        click.echo(f"{'*' if champion and name == champion.name else ' '} {name}  {desk.releases / name}")


@release.command("promote")
@click.argument("release_id")
@click.option("--force", is_flag=True, help="Promote a release whose gate did not pass.")
def release_promote(release_id: str, force: bool) -> None:
    """Make a release the champion."""
    kto_core.promote(Desk.active().releases, release_id, force=force)
    click.echo(f"{release_id} is the champion")


@release.command("rollback")
def release_rollback() -> None:
    """Make the previous champion the champion again."""
    click.echo(f"{kto_core.rollback(Desk.active().releases).name} is the champion again")
