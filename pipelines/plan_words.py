"""A plan in words: what the terminal, the page and `--json` say first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from feedback.plan import Plan, PolicyName

_KINDS = {
    "label": ("gets another label", "get another label"),
    "appears": ("is new", "are new"),
    "vanishes": ("goes away", "go away"),
    "tier": ("changes tier", "change tier"),
    "weight": ("changes weight", "change weight"),
    "rule": ("changes only the rule that decides", "change only the rule that decides"),
    "maturity": ("only becomes final at another time", "only become final at another time"),
}


def kind_words(kind: str, rows: int) -> str:
    """What so many rows of a kind of change do."""
    return _KINDS[kind][rows != 1]


def flow_words(flow: Mapping[str, Any]) -> str:
    """What the rows of a flow do, with the tiers or weights where these are what changes."""
    said = kind_words(flow["kind"], flow["rows"])
    match flow["kind"]:
        case "tier":
            return f"{said} from {flow['before_tier']} to {flow['after_tier']}"
        case "weight":
            return f"{said} from {flow['before_weight']:g} to {flow['after_weight']:g}"
    return said


def headline(plan: Plan) -> list[str]:
    """The plan in sentences, the most important first."""
    figures = plan.figures
    days = figures["days"]
    on = f"on {len(plan.days):,} of {count(len(days), 'day')}"
    of = f"of {count(figures['rows'], 'label')}"
    match [*figures["kinds"].items()]:
        case []:
            said = [f"No label changes: {plan.after} gives all {figures['rows']:,} labels as they are."]
        case [(kind, rows)]:
            said = [f"{rows:,} {of} {kind_words(kind, rows)}, {on}."]
        case kinds:
            each = listed(f"{rows:,} {kind_words(kind, rows)}" for kind, rows in kinds)
            said = [f"{plan.changed:,} {of} change {on}: {each}."]
    said.append(_training(figures["training"]))
    if plan.late:
        said.append(
            f"{plan.late:,} of them {'is' if plan.late == 1 else 'are'} due to feedback that came after the labels "
            "were made, whatever the policy."
        )
    if figures["ripened"]:
        said.append(
            f"On the days that change, {count(figures['ripened'], 'other label')} "
            f"{'becomes' if figures['ripened'] == 1 else 'become'} final because enough time has passed."
        )
    return said


def warnings(plan: Plan) -> list[str]:
    """What about the policies themselves may mislead, in sentences."""
    new = plan.after
    namesakes = [old for old in plan.before if (old.name, old.version) == (new.name, new.version)]
    if all(old.digest == new.digest for old in namesakes):
        return []
    called = f"{new.name} {new.version}"
    who = f"the stored labels are by another {called}" if plan.stored else f"both policies are called {called}"
    return [f"{who[0].upper()}{who[1:]}; raise `version` in the new one, so that they can be told apart."]


def _training(moves: Sequence[Mapping[str, Any]]) -> str:
    """What becomes of what trains; the largest moves first."""
    moved = sorted((move for move in moves if move["before"] != move["after"]), key=lambda move: -move["rows"])
    if not moved:
        # The audit's bounds are a policy's too, and no label shows whether they were changed.
        return (
            "No label trains otherwise; what the audit's gate makes of it, `feedback-kto audit report` says afterwards."
        )
    return f"{listed(_move(move) for move in moved)}."


def _move(move: Mapping[str, Any]) -> str:
    rows, before, after = f"{move['rows']:,}", move["before"], move["after"]
    one = move["rows"] == 1
    trains = "trains" if one else "train"
    if after is None:
        return f"{rows} that trained as {before} no longer {trains}"
    if before is None:
        return f"{rows} that did not train now {trains} as {after}"
    return f"{rows} that trained as {before} now {trains} as {after}"


def sides(plan: Plan) -> str:
    """Which policies the plan is about, from old to new."""
    return f"{old_side(plan.before, stored=plan.stored)} → {plan.after}"


def old_side(policies: Sequence[PolicyName], *, stored: bool) -> str:
    """The policies of the old side; of stored labels, there may be several."""
    names = listed(str(policy) for policy in policies)
    return f"the stored labels, by {names}" if stored else names


def bounds(balance: Mapping[str, Any]) -> str:
    """The λ bounds that follow from the class counts of one side."""
    found = balance["lambda_bounds"]
    if found["desirable_weight"] is None:
        return "none, since a class is empty"
    desirable, undesirable = (
        f"{low:.2f}–{high:.2f}" for low, high in (found["desirable_weight"], found["undesirable_weight"])
    )
    return f"λ_D {desirable} at λ_U = 1, or λ_U {undesirable} at λ_D = 1"


def count(number: int, thing: str) -> str:
    """The number with the thing in its singular or plural."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(parts: Iterable[str]) -> str:
    """The parts as an enumeration."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
