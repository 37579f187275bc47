"""Findings about a policy without data: rules that can never decide, tiers without rules, useless waiting times.

Every finding is certain. A *warning* asks for a change of the policy or the data; a *note* leaves the decision to the
reader. Findings from data are in `label_policy.checks.data_findings`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import duckdb

from label_policy.conditions.condition import Condition
from label_policy.conditions.implication import Implications
from label_policy.conditions.share_columns import limits_off_scale
from label_policy.engines.compiler import condition_tree
from label_policy.policy.fields import CLASSES, Label, Tier
from label_policy.policy.model import Policy
from label_policy.policy.sections import SENT_TEXT
from label_policy.schema.columns import COLUMN_SIGNALS, CONDITION_COLUMNS, SECONDS_TO_READ, columns_of
from label_policy.schema.event_kinds import RANKING_SIGNALS


class Level(StrEnum):
    """The severity of a finding."""

    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding about a policy.

    Attributes:
        level: a warning or a note.
        kind: a stable name of the problem, e.g. ``shadowed``.
        rules: the rules concerned, if any.
        message: one sentence: the problem, and what to do.

    """

    level: Level
    kind: str
    rules: tuple[str, ...] = ()
    message: str


def review_policy(policy: Policy) -> list[Finding]:
    """Return the findings about `policy` that need no data; warnings first."""
    findings = [
        *_dead_rules(policy),
        *_off_scale(policy),
        *_tiers_without_rules(policy),
        *_untrained_labels(policy),
        *_useless_settings(policy),
        *_notes(policy),
    ]
    return sorted(findings, key=lambda finding: finding.level is Level.NOTE)


def warning(kind: str, message: str, *rules: str) -> Finding:
    """Return a finding that asks for a change."""
    return Finding(level=Level.WARNING, kind=kind, rules=rules, message=message)


def note(kind: str, message: str, *rules: str) -> Finding:
    """Return a finding that leaves the decision to the reader."""
    return Finding(level=Level.NOTE, kind=kind, rules=rules, message=message)


def _dead_rules(policy: Policy) -> list[Finding]:
    """Find rules that cannot decide on any data; every finding is certain, but some dead rules are not found."""
    constants, implications = _constants(policy), Implications()
    findings: list[Finding] = []
    for index, rule in enumerate(policy.rules):
        name, earlier = f"rule '{rule.id}'", policy.rules[:index]
        same = next((other for other in earlier if other.condition.meaning == rule.condition.meaning), None)
        wider = next((other for other in earlier if implications.holds(rule.condition, other.condition)), None)
        always = next((other for other in earlier if constants.get(other.id)), None)
        if constants.get(rule.id, True) is not True:
            message = f"{name} can never decide: its condition reads nothing and never holds; remove it"
        elif same is not None:
            message = f"{name} can never decide: '{same.id}' above it has the same condition; remove one of them"
        elif always is not None:
            message = f"{name} can never decide: '{always.id}' above it always holds; move '{always.id}' to the end"
        elif wider is not None:
            message = (
                f"{name} can never decide: wherever it holds, '{wider.id}' above it holds too; "
                f"move it above '{wider.id}', or remove it"
            )
        else:
            continue
        findings.append(warning("dead_rule", message, rule.id))
    return findings


def _constants(policy: Policy) -> dict[str, bool | None]:
    """Evaluate the conditions that read no column."""
    constant = [rule for rule in policy.rules if not rule.condition.columns]
    if not constant:
        return {}
    conditions = ", ".join(condition_tree(policy, rule.condition).sql(dialect="duckdb") for rule in constant)
    with duckdb.connect() as connection:
        [values] = connection.execute(f"SELECT {conditions}").fetchall()
    return dict(zip((rule.id for rule in constant), values, strict=True))


def _off_scale(policy: Policy) -> Iterable[Finding]:
    """Find comparisons of a share with a number outside of 0 to 1."""
    conditions = [(f"rule '{rule.id}'", [rule.id], rule.condition) for rule in policy.rules]
    conditions += [(SENT_TEXT, [], policy.sent_text.condition)] if policy.sent_text is not None else []
    for name, rules, condition in conditions:
        for column, number in dict.fromkeys(limits_off_scale(condition.meaning)):
            yield warning(
                "off_scale",
                f"{name} compares {column} with {number:g}, but it is between 0 and 1; write a share, as in 0.5",
                *rules,
            )


def _tiers_without_rules(policy: Policy) -> Iterable[Finding]:
    rule_tiers, training = policy.tiers_of_labels, policy.training
    named = {
        # By default all tiers train, and the policy names none.
        "training.tiers": training.tiers if "tiers" in training.model_fields_set else (),
        "training.weights": training.weights,
        "audit.precision": policy.audit.precision,
    }
    for place, tiers in named.items():
        for tier in tiers:
            if tier not in rule_tiers:
                yield warning(
                    "tier_without_rule", f"{place} names the tier '{tier}', which no rule gives; remove it there"
                )
    for tier in training.weights:
        if tier in rule_tiers and tier not in training.tiers:
            yield warning(
                "weight_unused",
                f"training.weights names the tier '{tier}', which training.tiers leaves out; remove it or let it train",
            )


def _untrained_labels(policy: Policy) -> Iterable[Finding]:
    factors = policy.training.factors()
    trains = {rule.label for rule in policy.rules if rule.tier and rule.weight * factors.get(rule.tier, 0.0)}
    sent = policy.sent_text
    if sent is not None and sent.weight * factors.get(sent.tier, 0.0):
        trains.add(Label.DESIRABLE)
    for label in CLASSES:
        if label not in trains:
            yield warning(
                "class_missing",
                f"no {label} label trains under this policy, and training needs both classes; "
                f"give a rule that is {label} a tier that trains and a weight above 0",
            )


def _useless_settings(policy: Policy) -> Iterable[Finding]:
    awaited = {signal for condition in _conditions(policy) for signal in condition.signals}
    columns = _columns_read(policy)
    for signal in policy.maturity:
        if signal not in awaited:
            yield warning(
                "wait_for_nothing",
                f"maturity.{signal} delays no label: no rule reads what '{signal}' changes; "
                f"remove it, or read {' or '.join(columns_of(signal))} in a rule",
            )
    for setting, value, column in (
        ("terms", policy.terms, "edit_kind"),
        ("reading_speed", policy.reading_speed, SECONDS_TO_READ),
    ):
        if value and column not in columns:
            yield warning(
                "setting_unused", f"{setting} changes nothing: no rule reads {column}; remove it, or read {column}"
            )


def _notes(policy: Policy) -> Iterable[Finding]:
    tiers = [tier for tier in Tier if tier not in policy.tiers_of_labels]
    if tiers:
        yield note("tier_unused", f"no rule gives the tier {_either(tiers)}")
    # A ranking's own two signals arrive with it.
    late = signals_read(policy) - policy.maturity.keys() - {*RANKING_SIGNALS}
    if late:
        yield note(
            "not_awaited",
            f"no window under maturity for {', '.join(sorted(late))}: a label is final without waiting for them, and "
            "a later one is recorded as a correction",
        )
    unread = [column for column in CONDITION_COLUMNS if column not in _columns_read(policy)]
    if unread:
        yield note("columns_unread", f"no rule reads {', '.join(unread)}")


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _conditions(policy: Policy) -> list[Condition]:
    """Return all conditions of the policy: those of the rules, and those of the ``sent_text`` section."""
    sent = policy.sent_text.conditions if policy.sent_text is not None else ()
    return [*(rule.condition for rule in policy.rules), *sent]


def _columns_read(policy: Policy) -> set[str]:
    return {column for condition in _conditions(policy) for column in condition.columns}


def signals_read(policy: Policy) -> set[str]:
    """Return the signals that some condition reads; columns of who, why, when and how fast name no single signal."""
    columns = _columns_read(policy) - {"agent_id", "reasons", "decided_at", "seconds_to_decision"}
    return {signal for column in columns for signal in COLUMN_SIGNALS.get(column, ())}
