"""`feedback-kto policy plan` and `policy apply`: what a change of policy would do, and doing just that."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from desk.desk import Desk, policy_path
from feedback.atomic_files import write_atomically
from label_policy import PolicyError, shipped_policies
from pipelines.cli.policy_names import find_policy, is_digest
from pipelines.output.command_output import commands, print_json
from pipelines.output.exceptions import UsageError

if TYPE_CHECKING:
    from feedback.audits.planned_gate import Auditing
    from label_policy import Policy


def _writable(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that cannot be written before the plan is made, which may take a minute."""
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
        raise UsageError(f"{path} cannot be written; name a file in a folder that exists and that you may write to")
    return path


def _outcome(_context: click.Context, _parameter: click.Parameter, said: str | None) -> str | None:
    from label_policy import Tier

    if said is not None and not re.fullmatch(f"(open|closed)(-no-({'|'.join(Tier)}))*", said):
        raise UsageError(f"'{said}' is nothing that a plan says of the gate; copy --gate from its last line")
    return said


@click.command("plan")
@click.argument("policies", nargs=-1, metavar="[[OLD] NEW]")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    callback=_writable,
    help="Write the plan to this file too, as one HTML page.",
)
@click.option(
    "--rows",
    type=click.Path(path_type=Path),
    callback=_writable,
    help="Write every row that changes, before and after, to this file, as Parquet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def policy_plan(policies: tuple[str, ...], html: Path | None, rows: Path | None, as_json: bool) -> None:
    """Say what a change of policy would do to the active desk's labels, without writing any.

    NEW is by default the desk's policy as its file reads now; OLD are by default the labels as they are stored. Each is
    a YAML file, a shipped policy's name, or the digest (its first digits) of a policy that has labelled here.
    """
    from feedback.labels.ledger import days_behind
    from feedback.policy_changes.backfill_plan import plan_change
    from pipelines.views.plan_page import render_plan
    from pipelines.views.plan_tables import show_plan
    from pipelines.views.plan_words import gate_outcome, headline, warnings

    if len(policies) > 2:
        raise click.UsageError("plan takes at most two policies: OLD and NEW.")
    desk = Desk.active()
    *old, new = policies or (desk.settings.policy,)
    before = _find(desk, old[0])[0] if old else None
    policy, setting = _find(desk, new)
    made = plan_change(desk.lake, policy, before=before, as_of=_now(desk), rows=rows, auditing=_auditing(desk))
    apply = None
    if made.stored and (made.changed or setting != desk.settings.policy or days_behind(desk.lake, policy)[0]):
        gate = ["--gate", gate_outcome(made.gates.after)] if made.gates and made.gates.after.asked else []
        apply = commands(f"`{shlex.join(['feedback-kto', 'policy', 'apply', *policies, '--plan', made.id, *gate])}`")
    if html is not None:
        write_atomically(html, render_plan(made, desk=desk.name, apply=apply and apply.strip("`")))
    if as_json:
        print_json({**made.as_dict(), "desk": desk.name, "headline": headline(made), "warnings": warnings(made)})
        return
    console = Console()
    show_plan(made, console)
    written = [*([f"the page is {html}"] if html else []), *([f"the rows that change are in {rows}"] if rows else [])]
    said = f"{' and '.join(written)}; nothing else was written." if written else "Nothing was written."
    console.print(said[0].upper() + said[1:], highlight=False, markup=False, soft_wrap=True)
    if apply is not None:
        does = "makes exactly this change" if made.changed else "makes it the desk's policy, and changes no label"
        console.print(f"{apply} {does}", highlight=False, soft_wrap=True, markup=False)
    elif made.stored:
        console.print("There is nothing to apply.")


@click.command("apply")
@click.argument("new", required=False)
@click.option("--plan", "plan_id", help="The id of the plan that was looked at; refused if it says otherwise by now.")
@click.option(
    "--gate",
    callback=_outcome,
    help="What the plan said of the audit's gate, as it printed it; if that has changed, apply says so and goes on.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def policy_apply(new: str | None, plan_id: str | None, gate: str | None, yes: bool) -> None:
    """Make a policy the active desk's, and label again, in one run, just the days that it changes.

    NEW as in `policy plan`. The other days are recorded as being by the new policy as they are. What changed is then
    compared with what was planned, row for row.
    """
    from assets.support.stages import APPLY_STEP, AS_OF_TAG
    from feedback.labels.ledger import days_behind
    from feedback.policy_changes.apply import check_plan
    from feedback.policy_changes.backfill_plan import plan_change
    from label_policy import dump_policy
    from pipelines.output.safe_text import print_prose
    from pipelines.runs.run_job import run_job
    from pipelines.views.plan_tables import show_gates
    from pipelines.views.plan_words import count, gate_moved, headline, sides, warnings

    desk = Desk.active()
    policy, setting = _find(desk, new or desk.settings.policy)
    made = plan_change(desk.lake, policy, as_of=_now(desk), auditing=_auditing(desk))
    if plan_id is not None:
        check_plan(made, plan_id)
    behind, _ = days_behind(desk.lake, policy)
    console = Console()
    for sentence in (sides(made), *warnings(made), *headline(made)):
        print_prose(commands(sentence), console)
    show_gates(made, console)
    for sentence in gate_moved(made, gate):
        print_prose(sentence, console, style="yellow")
    if setting != desk.settings.policy:
        click.echo(f"{desk.path / 'desk.yaml'} will name {setting} as the desk's policy.")
    elif not made.days and not behind:
        click.echo("There is nothing to do.")
        return
    if not yes and not _agreed(f"Label {count(len(made.days), 'day')} again?"):
        click.echo("Nothing was changed.")
        return
    if not Path(setting).exists() and setting not in shipped_policies():
        Path(setting).parent.mkdir(exist_ok=True)
        write_atomically(Path(setting), dump_policy(policy))
    config = {"ops": {APPLY_STEP: {"config": {"plan": made.id, "policy": setting}}}}
    run_job(desk, "apply_policy", {AS_OF_TAG: made.as_of.isoformat()}, config)
    changed = f"{count(made.changed, 'label')} on {count(len(made.days), 'day')} changed as planned, row for row"
    confirmed = len(set(behind) - set(made.days))
    click.echo(
        "; ".join(
            [
                *([changed] if made.changed else ["no label changed"]),
                *([f"{count(confirmed, 'day')} confirmed as they are"] if confirmed else []),
            ]
        )
    )
    # Simulated reviewers read in the run that trains.
    unread = made.gates is not None and not made.gates.after.passed and not desk.settings.audit_simulated
    click.echo(
        commands(
            "`feedback-kto audit draw` draws what people are to read before they train"
            if unread
            else "`feedback-kto retrain` trains on them"
        )
    )


def _auditing(desk: Desk) -> Auditing:
    """How the desk draws its audit sample, and whose verdicts count there."""
    from feedback.audits.planned_gate import Auditing
    from feedback.audits.suspects import find_suspects

    return Auditing(
        seed=desk.settings.audit_seed,
        suspects=lambda: [(suspect.draft_id, suspect.label) for suspect in find_suspects(desk.heldout_scores)],
        simulated=desk.settings.audit_simulated,
    )


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("apply asks before it writes, and there is nobody to answer; add --yes.")
    return click.confirm(question)


def _find(desk: Desk, name: str) -> tuple[Policy, str]:
    """The policy that is meant, and what the desk's settings would call it."""
    from label_policy import load_policy

    if name == desk.settings.policy:
        return desk.policy, name
    policy = find_policy(name, desk.lake)
    if not is_digest(name):
        return policy, name if name in shipped_policies() else str(Path(name).resolve())
    for setting in (desk.settings.policy, *shipped_policies()):
        with suppress(PolicyError):  # a file that is broken by now is not the one
            if load_policy(policy_path(setting)).digest == policy.digest:
                return policy, setting
    # Its file may have changed since, or be gone: what was kept becomes a file of the desk's own.
    return policy, str((desk.path / "policies" / f"{policy.id}-{policy.digest[:12]}.yaml").resolve())


def _now(desk: Desk) -> datetime:
    """The moment that the plan speaks of, as a run started now would have it."""
    return (desk.settings.as_of or datetime.now(UTC)).astimezone(UTC)
