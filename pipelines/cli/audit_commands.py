"""`feedback-kto audit`: draw a sample of labels, let people read it, and report the quality of the labels."""

from __future__ import annotations

import uuid

import click
from rich.console import Console

from desk.desk import Desk
from pipelines.cli.audit_report_commands import audit_override, audit_report, audit_suspects
from pipelines.cli.audit_review_commands import audit_export, audit_import, audit_review
from pipelines.output.command_output import commands, print_json

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


@click.group()
def audit() -> None:
    """People check the labels, and their verdicts decide what trains.

    `draw` picks a sample, `review` is the page on which people read it, `status` says how much is read, and `report`
    how good the labels are. Every run draws anew, and asks for no row again that has been read.
    """


audit.add_command(audit_review)
audit.add_command(audit_export)
audit.add_command(audit_import)
audit.add_command(audit_report)
audit.add_command(audit_override)
audit.add_command(audit_suspects)


@audit.command("draw")
@_JSON
def audit_draw(as_json: bool) -> None:
    """Draw the labels that people are to read, as the policy's `audit` section asks, and show the strata.

    Rows that are read count: a draw asks only for the missing ones.
    """
    from desk.lock import hold_desk
    from feedback.audits.sample import audit_progress, write_audit_sample
    from feedback.audits.suspects import find_suspects
    from pipelines.views.audit_progress import show_draw

    desk = Desk.active()
    suspects = [(suspect.draft_id, suspect.label) for suspect in find_suspects(desk.heldout_scores)]
    with hold_desk(desk, run_id=str(uuid.uuid4()), job="audit draw"):
        write_audit_sample(desk.lake, desk.policy, seed=desk.settings.audit_seed, suspects=suspects)
    columns = ("label", "suspected", *(name for name in desk.policy.audit.strata if name != "label"))
    progress = audit_progress(desk.lake, *columns)
    if as_json:
        print_json({"desk": desk.name, "policy": desk.policy.id, **progress.as_dict(*columns)})
        return
    show_draw(progress, columns, Console())
    if progress.missing:
        click.echo(commands("`feedback-kto audit review` is the page to read them on."))


@audit.command("status")
@_JSON
def audit_status(as_json: bool) -> None:
    """Say how much of the sample is read, how long the rest will take, and whether labels may train."""
    from feedback.audits.overrides import override_now
    from feedback.audits.sample import audit_progress
    from pipelines.views.audit_progress import show_status

    desk = Desk.active()
    progress = audit_progress(desk.lake, "label", "tier")
    gate = desk.measure_audit().gate
    override = override_now(desk.lake, desk.policy)
    if as_json:
        outcome = {"gate": gate.as_dict(), "override": override and override.as_dict()}
        print_json({"desk": desk.name, **progress.as_dict("label", "tier"), **outcome})
        return
    show_status(progress, gate, override, Console())


@audit.command("simulate")
@_JSON
def audit_simulate(as_json: bool) -> None:
    """Let simulated reviewers read the unread rows, on a desk whose truth is known and that allows it.

    Their verdicts are marked `simulated` wherever they count. A person's first verdict on a row replaces them.
    """
    from assets.support.simulated_verdicts import READERS, simulate_verdicts

    desk = Desk.active()
    added = simulate_verdicts(desk)
    if as_json:
        print_json({"desk": desk.name, "simulated": added})
        return
    readers = " and ".join(f"{reader.name} ({reader.wrong:.0%} wrong)" for reader in READERS)
    count = "No verdict was" if not added else "1 verdict was" if added == 1 else f"{added:,} verdicts were"
    click.echo(f"{count} simulated, by {readers}: nobody read those rows.")
    click.echo(commands("`feedback-kto audit report` shows the label quality that follows from them."))
