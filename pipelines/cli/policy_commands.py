"""`feedback-kto policy`: label policies, what counts as a good draft."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import kto_core
from desk.desk import Desk, feedback_home
from feedback.exceptions import FeedbackError
from label_policy import DIALECTS, PolicyError, shipped_policies
from pipelines.cli.plan_commands import policy_apply, policy_plan
from pipelines.cli.policy_names import find_policy
from pipelines.output.command_output import print_json

if TYPE_CHECKING:
    from label_policy.audits.audit_gate import AuditGate


@click.group()
def policy() -> None:
    """Label policies: what counts as a good draft."""


policy.add_command(policy_plan)
policy.add_command(policy_apply)


@policy.command("list")
def policy_list() -> None:
    """List the policies that come with the project."""
    from label_policy import load_policy

    for name, path in shipped_policies().items():
        click.echo(f"{name:<20} {load_policy(path).description.strip().splitlines()[0]}  ({path})")


@policy.command("check")
@click.argument("file")
@click.option("--desk", "desk_name", help="Desk whose interactions the rules are tried on.  [default: the active one]")
@click.option("--no-data", is_flag=True, help="Check the policy alone, without a desk's data.")
@click.option("--strict", is_flag=True, help="Exit 1 on a warning; notes never count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def policy_check(file: str, desk_name: str | None, no_data: bool, strict: bool, as_json: bool) -> None:
    """Check a policy, show what its rules do, and warn of likely mistakes.

    FILE is a YAML file, a shipped policy's name, or the digest of a policy that has labelled here.

    Warnings say what to change: a rule that no interaction can reach, a tier that no rule gives, a wait for nothing, a
    signal that no rule reads. Notes may be as intended. Nothing is written.
    """
    from feedback.labels.rule_coverage import policy_coverage
    from label_policy.checks.data_findings import review_coverage
    from label_policy.checks.policy_findings import review_policy
    from pipelines.views.policy_view import check_json, show_check

    if no_data and desk_name is not None:
        raise click.UsageError("--no-data reads no desk, so --desk makes no sense with it.")
    chosen = _desk(desk_name)
    loaded = find_policy(file, chosen.lake if chosen else None)
    desk = None if no_data else chosen
    coverage = policy_coverage(desk.lake, loaded, as_of=datetime.now(UTC)) if desk else None
    findings = review_policy(loaded) + (review_coverage(loaded, coverage) if coverage else [])
    name = desk.name if desk else None
    if as_json:
        print_json(check_json(loaded, name, coverage, findings))
    else:
        show_check(loaded, name, coverage, findings, Console())
    warnings = sum(finding.level == "warning" for finding in findings)
    if strict and warnings:
        raise PolicyError(f"{file} has {warnings} warning{'s' if warnings > 1 else ''}, which --strict does not allow")


def _desk(name: str | None) -> Desk | None:
    """Return the desk of that name, or else the active one; None where there is none yet."""
    if name is not None:
        desk = Desk(feedback_home(), name)
        _ = desk.settings  # raises where there is no such desk
        return desk
    try:
        return Desk.active()
    except FeedbackError:
        # A policy can be written before any desk is set up.
        return None


@policy.command("sql")
@click.argument("file")
@click.option("--dialect", type=click.Choice(sorted(DIALECTS)), default="duckdb", show_default=True)
def policy_sql(file: str, dialect: str) -> None:
    """Print the SELECT that a policy compiles to, and the SELECT of sent texts where the policy has a sent_text.

    FILE is a YAML file, a shipped policy's name, or the digest of a policy that has labelled on the active desk.
    """
    from label_policy import compile_policy, compile_sent_texts

    desk = _desk(None)
    loaded = find_policy(file, desk.lake if desk else None)
    click.echo(compile_policy(loaded, dialect=dialect), nl=False)
    if loaded.sent_text is not None:
        click.echo(";\n\n-- Texts that agents sent in place of a draft: one row each; final_text is the text.")
        click.echo(compile_sent_texts(loaded, dialect=dialect), nl=False)
        click.echo(";", nl=False)
    click.echo()


@policy.command("explain")
@click.argument("draft_id")
@click.option("--policy", "file", help="Another policy than the desk's: a YAML file, a shipped one, or a digest.")
@click.option("--full", is_flag=True, help="Show texts whole.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def policy_explain(draft_id: str, file: str | None, full: bool, as_json: bool) -> None:
    """Show why a draft has its label: its texts, events and rules, and the training sets and releases that hold it.

    DRAFT_ID is a draft_id of the raw logs or a row_id of a training set: the text that an agent sent instead of a draft
    is DRAFT_ID#sent, and the texts of a ranking are EVENT_ID#preferred and EVENT_ID#other. Nothing is written.
    """
    from feedback.history.explain import explain
    from pipelines.views.explain_view import show_explanation

    desk = Desk.active()
    loaded = find_policy(file, desk.lake) if file else desk.policy
    explanation = explain(
        desk.lake,
        loaded,
        draft_id,
        deployed=desk.policy,
        training_sets=desk.training_sets,
        now=desk.settings.as_of or datetime.now(UTC),
        heldout=desk.settings.heldout,
        gate=_gate(desk),
        simulated=desk.settings.audit_simulated,
    )
    releases = _releases(desk, {holding.version for holding in explanation.holdings})
    if as_json:
        print_json({**asdict(explanation), "trains": explanation.trains, "releases": releases})
    else:
        show_explanation(explanation, loaded, releases, Console(), full=full)


def _gate(desk: Desk) -> AuditGate | None:
    """Return the audit's gate for the desk's labels now; None where the policy asks for no audit."""
    from label_policy.audits.audit_gate import bounds

    if not bounds(desk.policy.audit, desk.policy.training):
        return None
    return desk.measure_audit().gate


def _releases(desk: Desk, versions: set[str]) -> list[dict[str, Any]]:
    """Return the desk's releases of models that were trained on one of these training sets."""
    champion = kto_core.champion(desk.releases)
    releases = []
    for path in sorted(desk.releases.glob("*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["training_set"]["version"]
        if version in versions:
            releases.append({"id": path.parent.name, "training_set": version, "champion": path.parent == champion})
    return releases
