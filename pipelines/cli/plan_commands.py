"""`feedback-kto policy plan` and `policy apply`: plan a change of policy, and make exactly that change."""

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


def _outcome(_context: click.Context, _parameter: click.Parameter, gate: str | None) -> str | None:
    from label_policy import Tier

    if gate is not None and not re.fullmatch(f"(open|closed)(-no-({'|'.join(Tier)}))*", gate):
        raise UsageError(f"'{gate}' is no outcome of a gate; copy --gate from the plan's last line")
    return gate


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

    NEW is by default the desk's policy as its file reads now; OLD is by default the stored labels. Each is a YAML file,
    a shipped policy's name, or the digest (its first digits) of a policy that has labelled here.
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
    plan = plan_change(desk.lake, policy, before=before, as_of=_now(desk), rows=rows, auditing=_auditing(desk))
    apply = None
    if plan.stored and (plan.changed or setting != desk.settings.policy or days_behind(desk.lake, policy)[0]):
        gate = ["--gate", gate_outcome(plan.gates.after)] if plan.gates and plan.gates.after.asked else []
        apply = commands(f"`{shlex.join(['feedback-kto', 'policy', 'apply', *policies, '--plan', plan.id, *gate])}`")
    if html is not None:
        write_atomically(html, render_plan(plan, desk=desk.name, apply=apply and apply.strip("`")))
    if as_json:
        print_json({**plan.as_dict(), "desk": desk.name, "headline": headline(plan), "warnings": warnings(plan)})
        return
    console = Console()
    show_plan(plan, console)
    written = [*([f"the page is {html}"] if html else []), *([f"the rows that change are in {rows}"] if rows else [])]
    note = f"{' and '.join(written)}; nothing else was written." if written else "Nothing was written."
    console.print(note[0].upper() + note[1:], highlight=False, markup=False, soft_wrap=True)
    if apply is not None:
        does = "makes exactly this change" if plan.changed else "makes it the desk's policy, and changes no label"
        console.print(f"{apply} {does}", highlight=False, soft_wrap=True, markup=False)
    elif plan.stored:
        console.print("There is nothing to apply.")


@click.command("apply")
@click.argument("new", required=False)
@click.option("--plan", "plan_id", help="The plan's id; refused if the plan is another by now.")
@click.option(
    "--gate",
    callback=_outcome,
    help="The outcome of the audit's gate that the plan printed; if it has changed, apply says so and goes on.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def policy_apply(new: str | None, plan_id: str | None, gate: str | None, yes: bool) -> None:
    """Make a policy the active desk's, and relabel in one run only the days that it changes.

    NEW is as in `policy plan`. The other days are recorded as confirmed by the new policy. The changes are then
    compared with the plan, row for row.
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
    plan = plan_change(desk.lake, policy, as_of=_now(desk), auditing=_auditing(desk))
    if plan_id is not None:
        check_plan(plan, plan_id)
    behind, _ = days_behind(desk.lake, policy)
    console = Console()
    for sentence in (sides(plan), *warnings(plan), *headline(plan)):
        print_prose(commands(sentence), console)
    show_gates(plan, console)
    for sentence in gate_moved(plan, gate):
        print_prose(sentence, console, style="yellow")
    if setting != desk.settings.policy:
        click.echo(f"{desk.path / 'desk.yaml'} will name {setting} as the desk's policy.")
    elif not plan.days and not behind:
        click.echo("There is nothing to do.")
        return
    if not yes and not _agreed(f"Label {count(len(plan.days), 'day')} again?"):
        click.echo("Nothing was changed.")
        return
    if not Path(setting).exists() and setting not in shipped_policies():
        Path(setting).parent.mkdir(exist_ok=True)
        write_atomically(Path(setting), dump_policy(policy))
    config = {"ops": {APPLY_STEP: {"config": {"plan": plan.id, "policy": setting}}}}
    run_job(desk, "apply_policy", {AS_OF_TAG: plan.as_of.isoformat()}, config)
    changed = f"{count(plan.changed, 'label')} on {count(len(plan.days), 'day')} changed as planned, row for row"
    confirmed = len(set(behind) - set(plan.days))
    click.echo(
        "; ".join(
            [
                *([changed] if plan.changed else ["no label changed"]),
                *([f"{count(confirmed, 'day')} confirmed as they are"] if confirmed else []),
            ]
        )
    )
    # Simulated reviewers read in the run that trains.
    unread = plan.gates is not None and not plan.gates.after.passed and not desk.settings.audit_simulated
    click.echo(
        commands(
            "`feedback-kto audit draw` draws the rows that people are to read before the labels train"
            if unread
            else "`feedback-kto retrain` trains on them"
        )
    )


def _auditing(desk: Desk) -> Auditing:
    """Return how the desk draws its audit sample, and whose verdicts count there."""
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
    """Return the policy of that name, and its name in the desk's settings."""
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
    # Its file may have changed since, or be gone: the kept text becomes a file of the desk's own.
    return policy, str((desk.path / "policies" / f"{policy.id}-{policy.digest[:12]}.yaml").resolve())


def _now(desk: Desk) -> datetime:
    """Return the plan's moment: the one that a run started now would have."""
    return (desk.settings.as_of or datetime.now(UTC)).astimezone(UTC)
