"""`feedback-kto policy`: label policies, what counts as a good draft."""

from __future__ import annotations

import click

from assets.desk import policy_path
from label_policy import DIALECTS, compile_policy, load_policy, shipped_policies


@click.group()
def policy() -> None:
    """Label policies: what counts as a good draft."""


@policy.command("list")
def policy_list() -> None:
    """The policies that come with the project."""
    for name, path in shipped_policies().items():
        click.echo(f"{name:<20} {load_policy(path).description.strip().splitlines()[0]}  ({path})")


@policy.command("check")
@click.argument("file")
def policy_check(file: str) -> None:
    """Check a policy (a YAML file, or a shipped one's name) and print its rules in their order."""
    loaded = load_policy(policy_path(file))
    click.echo(f"{loaded.name} {loaded.version}, digest {loaded.digest[:16]}: {len(loaded.rules)} rules")
    for rule in loaded.rules:
        when = " ".join(rule.when.split())
        click.echo(f"  {rule.id:<28} {rule.label:<12} {rule.tier or '':<9} {rule.weight:<5g} when {when}")


@policy.command("sql")
@click.argument("file")
@click.option("--dialect", type=click.Choice(sorted(DIALECTS)), default="duckdb", show_default=True)
def policy_sql(file: str, dialect: str) -> None:
    """Print the SELECT that a policy compiles to."""
    click.echo(compile_policy(load_policy(policy_path(file)), dialect=dialect))
