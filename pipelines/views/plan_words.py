"""Sentences of a plan, for the terminal, the page and `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from feedback.policy_changes.backfill_plan import Plan, PolicyName
from label_policy.audits.audit_gate import AuditGate, Outcome
from pipelines.views.audit_words import gate_words, override_words

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
    """Return what that many rows of a kind of change do."""
    return _KINDS[kind][rows != 1]


def flow_words(flow: Mapping[str, Any]) -> str:
    """Return what the rows of a flow do, with the tiers or weights where these change."""
    words = kind_words(flow["kind"], flow["rows"])
    match flow["kind"]:
        case "tier":
            return f"{words} from {flow['before_tier']} to {flow['after_tier']}"
        case "weight":
            return f"{words} from {flow['before_weight']:g} to {flow['after_weight']:g}"
    return words


def headline(plan: Plan) -> list[str]:
    """Return the plan in sentences, the most important first."""
    figures = plan.figures
    days = figures["days"]
    on = f"on {len(plan.days):,} of {count(len(days), 'day')}"
    of = f"of {count(figures['rows'], 'label')}"
    match [*figures["kinds"].items()]:
        case []:
            sentences = [f"No label changes: {plan.after} keeps all {figures['rows']:,} labels as they are."]
        case [(kind, rows)]:
            sentences = [f"{rows:,} {of} {kind_words(kind, rows)}, {on}."]
        case kinds:
            each = listed(f"{rows:,} {kind_words(kind, rows)}" for kind, rows in kinds)
            sentences = [f"{plan.changed:,} {of} change {on}: {each}."]
    sentences.append(_training(figures["training"]))
    if plan.late:
        sentences.append(
            f"{plan.late:,} of them {'is' if plan.late == 1 else 'are'} due to feedback that came after the labels "
            "were made, whatever the policy."
        )
    if figures["ripened"]:
        sentences.append(
            f"On the days that change, {count(figures['ripened'], 'other label')} "
            f"{'becomes' if figures['ripened'] == 1 else 'become'} final because enough time has passed."
        )
    return sentences


def warnings(plan: Plan) -> list[str]:
    """Return warnings in sentences: policies of the same name and version, and an override that ends."""
    return [*_namesakes(plan), *_ending(plan)]


def _namesakes(plan: Plan) -> list[str]:
    new = plan.after
    namesakes = [old for old in plan.before if (old.name, old.version) == (new.name, new.version)]
    if all(old.digest == new.digest for old in namesakes):
        return []
    called = f"{new.name} {new.version}"
    cause = f"the stored labels are by another {called}" if plan.stored else f"both policies are called {called}"
    return [f"{cause[0].upper()}{cause[1:]}; raise `version` in the new one, so that they can be told apart."]


def _training(moves: Sequence[Mapping[str, Any]]) -> str:
    """Return how the training rows change; the largest moves first."""
    moved = sorted((move for move in moves if move["before"] != move["after"]), key=lambda move: -move["rows"])
    if not moved:
        return "The labels that train stay the same."
    return f"{listed(_move(move) for move in moved)}."


def _move(move: Mapping[str, Any]) -> str:
    rows, before, after = f"{move['rows']:,}", move["before"], move["after"]
    trains = "trains" if move["rows"] == 1 else "train"
    if after is None:
        return f"{rows} that trained as {before} no longer {trains}"
    if before is None:
        return f"{rows} that did not train now {trains} as {after}"
    return f"{rows} that trained as {before} now {trains} as {after}"


def _ending(plan: Plan) -> list[str]:
    """Return a warning that an override ends with its policy, with the command that renews it where it is needed."""
    ending = plan.ending
    if ending is None:
        return []
    old, new = (f"{policy.name} {policy.version}" for policy in (plan.before[0], plan.after))
    only = f"{old} only" if old != new else f"{old} as it was only"
    warning = f"The override by {override_words(ending)}, ends: it holds for {only}"
    failing = [] if plan.gates is None else [
        tier for tier, each in plan.gates.after.tiers.items() if each.outcome in (Outcome.FAILED, Outcome.UNDECIDED)
    ]  # fmt: skip
    tiers = [tier for tier in ending.tiers if tier in failing]
    closed = plan.gates is None or not plan.gates.after.passed
    if not (tiers if ending.tiers else closed or failing):
        return [f"{warning}, and the new policy's gate does not need it."]
    of_tiers = "".join(f" --tier {tier}" for tier in tiers)
    return [f"{warning}; renew it with `feedback-kto audit override --who … --why …{of_tiers}`."]


def gate_sentences(plan: Plan) -> list[tuple[str, list[str]]]:
    """Return a sentence on the audit's gate for each side, with its details."""
    if plan.gates is None:
        return []
    before, after = plan.gates.before, plan.gates.after
    if not after.asked and (before is None or not before.asked):
        return []
    old = f"{plan.before[0].name} {plan.before[0].version}" if plan.before else "the old policy"
    new = f"{plan.after.name} {plan.after.version}"
    if old == new:
        old, new = f"{old} as it was", f"{new} as it is now"
    if before is not None and gate_words(before) == gate_words(after):
        return [(f"The audit's gate is {_gate(before, 'before and after')}.", _details(before))]
    then = "once its sample is drawn (`feedback-kto audit draw`)"
    return [
        (f"The audit's gate for {old} is not known: the policy's text is not kept.", [])
        if before is None
        else _asks_for_nothing(old)
        if not before.asked
        else (f"The audit's gate is {_gate(before, f'for {old}')}.", _details(before)),
        (f"For {new}, {then}, the audit's gate is {_gate(after)}.", _details(after))
        if after.asked
        else _asks_for_nothing(new),
    ]


def _asks_for_nothing(policy: str) -> tuple[str, list[str]]:
    return f"The audit of {policy} asks for no precision, so there is no gate.", []


def gate_moved(plan: Plan, planned: str | None) -> list[str]:
    """Return a sentence where the new side's gate differs from `planned`, the outcome that an earlier plan printed."""
    now = gate_outcome(plan.gates.after) if plan.gates else None
    if planned is None or now is None or planned == now:
        return []
    return [f"The gate has changed since that plan was made: from {planned} to {now}."]


def side_words(plan: Plan, side: str) -> list[str]:
    """Return the side, `before` or `after`, and the tiers that its audit gate excludes from training, if any."""
    gate = plan.gates and (plan.gates.before if side == "before" else plan.gates.after)
    return [side, f"without {listed(gate.excluded)}"] if gate and gate.excluded else [side]


def gate_outcome(gate: AuditGate) -> str:
    """Return the gate's outcome as a word: whether labels train, and which tiers do not, as `open-no-weak`."""
    return "-".join(["open" if gate.passed else "closed", *(f"no-{tier}" for tier in gate.excluded)])


def _gate(gate: AuditGate, of: str = "") -> str:
    state = " ".join(["open" if gate.passed else "closed", *([of] if of else [])])
    if not gate.passed:
        return f"{state}: nothing trains"
    return f"{state}, but tier {listed(gate.excluded)} does not train" if gate.excluded else state


def _details(gate: AuditGate) -> list[str]:
    return [f"{text[0].upper()}{text[1:]}." for text in gate_words(gate)[1]]


def sides(plan: Plan) -> str:
    """Return the policies of the plan, from old to new."""
    return f"{old_side(plan.before, stored=plan.stored)} → {plan.after}"


def old_side(policies: Sequence[PolicyName], *, stored: bool) -> str:
    """Return the policies of the old side; stored labels may have several."""
    names = listed(str(policy) for policy in policies)
    return f"the stored labels, by {names}" if stored else names


def bounds(balance: Mapping[str, Any]) -> str:
    """Return the λ bounds that follow from the class counts of one side."""
    intervals = balance["lambda_bounds"]
    if intervals["desirable_weight"] is None:
        return "none, since a class is empty"
    desirable, undesirable = (
        f"{low:.2f}–{high:.2f}" for low, high in (intervals["desirable_weight"], intervals["undesirable_weight"])
    )
    return f"λ_D {desirable} at λ_U = 1, or λ_U {undesirable} at λ_D = 1"


def count(number: int, thing: str) -> str:
    """Return the number with the thing in its singular or plural."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(parts: Iterable[str]) -> str:
    """Return the parts as an enumeration."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
