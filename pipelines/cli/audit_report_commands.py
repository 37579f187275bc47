"""`feedback-kto audit report`, `override` and `suspects`: the quality of the labels, and the gate that it decides."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console

from desk.desk import Desk
from feedback.atomic_files import write_atomically
from pipelines.output.command_output import commands, print_json
from pipelines.output.exceptions import UsageError
from pipelines.output.safe_text import visible


def _writable(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
        raise UsageError(f"{path} cannot be written; name a file in a folder that exists and that you may write to")
    return path


_FILE = click.Path(path_type=Path)


@click.command("report")
@click.option("--html", type=_FILE, callback=_writable, help="Write the report to this file, as one HTML page.")
@click.option("--png", type=_FILE, callback=_writable, help="Write its figure to this file too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def audit_report(html: Path | None, png: Path | None, as_json: bool) -> None:
    """Say how good the active desk's labels are, by people's verdicts on the sample, and whether they may train."""
    from assets.support.audit_chart import draw_quality
    from feedback.audits.overrides import former_overrides, override_now
    from pipelines.output.safe_text import print_prose
    from pipelines.views.audit_page import render_report
    from pipelines.views.audit_tables import show_headline, show_report
    from pipelines.views.audit_words import override_lines

    desk = Desk.active()
    outcome = desk.measure_audit()
    quality, gate = outcome.quality, outcome.gate
    override, former = override_now(desk.lake, desk.policy), former_overrides(desk.lake, desk.policy)
    overrides = override_lines(gate, override, former)
    if html is not None:
        write_atomically(html, render_report(quality, gate, desk.policy, desk=desk.name, overrides=overrides))
    if png is not None:
        png.write_bytes(draw_quality(quality, desk.policy))
    if as_json:
        report = {**quality.as_dict(), "disagreements": [dict(row) for row in quality.disagreements]}
        report |= {"override": override and override.as_dict(), "former_overrides": [each.as_dict() for each in former]}
        print_json({"desk": desk.name, **report, "gate": gate.as_dict()})
        return
    console = Console()
    show = show_report if html is None else show_headline
    show(quality, gate, console)
    for line in overrides:
        print_prose(line.strip(), console, indent=len(line) - len(line.lstrip()))
    for output, path in (("page", html), ("figure", png)):
        if path is not None:
            console.print(f"The {output} is {path}.", highlight=False, markup=False, soft_wrap=True)


@click.command("override")
@click.option("--who", required=True, help="Your name.")
@click.option("--why", required=True, help="Why labels train that fail their audit; the model card repeats it.")
@click.option("--tier", "tiers", multiple=True, help="A tier that trains; repeat for more tiers.  [default: all]")
@click.option("--days", type=click.IntRange(min=1), default=7, show_default=True, help="How long it holds.")
def audit_override(who: str, why: str, tiers: tuple[str, ...], days: int) -> None:
    """Let labels train although their audit does not allow it, under the desk's current policy, for some days."""
    from feedback.audits.overrides import open_gate

    desk = Desk.active()
    override = open_gate(desk.lake, desk.policy, who=who, why=why, tiers=tiers, days=days)
    scope = f"tier {' and '.join(override.tiers)}" if override.tiers else "every tier, however little was read"
    click.echo(
        commands(
            f"Open until {override.expires_at:%Y-%m-%d %H:%M} UTC for {scope} of {desk.policy.name} "
            f"{desk.policy.version}; manifest and model card will say so. `feedback-kto retrain` trains"
        )
    )


@click.command("suspects")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def audit_suspects(as_json: bool) -> None:
    """List the held-out labels that the newest model's scores contradict; the next draw asks people to read them."""
    from dataclasses import asdict

    from feedback.audits.suspects import find_suspects

    desk = Desk.active()
    suspects = find_suspects(desk.heldout_scores)
    if as_json:
        print_json({"desk": desk.name, "suspects": [asdict(suspect) for suspect in suspects]})
        return
    if not suspects:
        why = "no label is suspected" if desk.heldout_scores.is_file() else "no model has been evaluated yet"
        click.echo(commands(f"{why}; each `feedback-kto run` evaluates its model and looks again"))
        return
    most = desk.policy.audit.suspects
    click.echo(
        commands(f"{len(suspects):,} held-out labels are suspected; `feedback-kto audit draw` asks for {most} a class")
    )
    for suspect in suspects:
        click.echo(f"  {suspect.likely:6.1%} likely to be {suspect.label:<12}{visible(suspect.draft_id)}")
