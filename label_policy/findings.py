"""What is odd about a policy: rules that can never decide, tiers without rules, waits for nothing, signals unread.

`review_policy` says what follows from the policy alone, and only what follows exactly; `review_coverage` says what the
data at hand shows. A *warning* asks for a change of the policy, or of the data; a *note* is for the reader to judge: a
rule that has not fired yet may be right all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import duckdb

from label_policy.columns import COLUMN_SIGNALS, CONDITION_COLUMNS, SECONDS_TO_READ
from label_policy.compiler import condition_tree
from label_policy.conditions import Condition
from label_policy.coverage import Coverage, RuleCoverage
from label_policy.fields import Label, Tier
from label_policy.implication import Implications
from label_policy.policy import Policy
from label_policy.sections import SENT_TEXT
from label_policy.shares import limits_off_scale

_MOST_NAMED = 3
"""Earlier rules that a sentence names; a reader wants the ones that matter."""


class Level(StrEnum):
    """How much a finding matters."""

    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing worth saying about a policy.

    Attributes:
        level: a warning or a note.
        kind: what it is, in one word that stays the same, e.g. ``shadowed``.
        rules: the rules that it is about, if it is about some.
        message: one sentence: what, and what to do.

    """

    level: Level
    kind: str
    rules: tuple[str, ...] = ()
    message: str


def review_policy(policy: Policy) -> list[Finding]:
    """Return what can be said of `policy` without data, warnings first."""
    found = [
        *_dead_rules(policy),
        *_off_scale(policy),
        *_tiers_without_rules(policy),
        *_untrained_labels(policy),
        *_useless_settings(policy),
        *_notes(policy),
    ]
    return sorted(found, key=lambda finding: finding.level is Level.NOTE)


def review_coverage(policy: Policy, coverage: Coverage) -> list[Finding]:
    """Return what `coverage`, measured on some interactions, adds to `review_policy`, warnings first."""
    if not coverage.interactions:
        return []
    dead = {rule for finding in _dead_rules(policy) for rule in finding.rules}
    found = [*_silent_rules(policy, [rule for rule in coverage.rules if rule.rule not in dead], coverage)]
    if coverage.undecided_rankings:
        found.append(
            _warning(
                "undecided_rankings",
                f"{coverage.undecided_rankings:,} of {coverage.rankings:,} texts of rankings are decided by no rule; "
                "add rules that read preferred_at and not_preferred_at (one that abstains, where only the pair counts)",
            )
        )
    unread = set(coverage.signals) - _signals_read(policy)
    for signal, count in sorted(coverage.signals.items(), key=lambda item: -item[1]):
        if signal in unread:
            found.append(
                _warning(
                    "unread_signal",
                    f"'{signal}' came on {_interactions(count)} and no rule reads it; "
                    f"read {' or '.join(_columns_of(signal))} in a rule if it says something of a draft",
                )
            )
    if policy.sent_text is None and coverage.edited:
        found.append(
            _note(
                "no_sent_text",
                f"{coverage.edited:,} edited drafts hold what was sent in their place; with a sent_text section, "
                "those texts train too",
            )
        )
    elif policy.sent_text is not None and not coverage.sent_texts:
        found.append(_note("sent_text_unused", f"sent_text makes no row of {coverage.edited:,} edited drafts"))
    return sorted(found, key=lambda finding: finding.level is Level.NOTE)


def _warning(kind: str, message: str, *rules: str) -> Finding:
    return Finding(level=Level.WARNING, kind=kind, rules=rules, message=message)


def _note(kind: str, message: str, *rules: str) -> Finding:
    return Finding(level=Level.NOTE, kind=kind, rules=rules, message=message)


def _silent_rules(policy: Policy, rules: list[RuleCoverage], coverage: Coverage) -> Iterable[Finding]:
    """The rules that decide nothing: because others do, because of what the data lack, or because they never hold."""
    silent = [rule for rule in rules if not rule.decides]
    for rule in silent:
        if rule.holds:
            yield _shadowed(rule)
    unknown = [rule for rule in silent if rule.unknown == coverage.interactions]
    for rule in unknown:
        [condition] = [other.condition for other in policy.rules if other.id == rule.rule]
        missing = [f"'{signal}'" for signal in sorted(condition.signals - coverage.signals.keys())]
        why = f"{', '.join(missing)} never came" if missing else "some column that it compares is never filled"
        yield _note(
            "always_null",
            f"rule '{rule.rule}' is unknown (NULL) on all of {_interactions(rule.unknown)}: {why}; "
            "if the log has it, the mapping leaves it out",
            rule.rule,
        )
    never = [rule.rule for rule in silent if not rule.holds and rule not in unknown]
    if never:
        yield _note(
            "not_fired",
            f"not fired on {_interactions(coverage.interactions)} from {coverage.first_shown:%Y-%m-%d} to "
            f"{coverage.last_shown:%Y-%m-%d}: {', '.join(never)}; that may be right all the same",
            *never,
        )


def _interactions(count: int) -> str:
    return f"{count:,} interaction{'s' if count != 1 else ''}"


def _shadowed(rule: RuleCoverage) -> Finding:
    takers = [f"'{other}' ({count:,})" for other, count in rule.taken_by.items()]
    rest = len(takers) - _MOST_NAMED
    took = ", ".join(takers[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return _warning(
        "shadowed",
        f"rule '{rule.rule}' holds on {_interactions(rule.holds)} and decides none, "
        f"taken by {took} above it; move it up, narrow those, or remove it",
        rule.rule,
    )


def _dead_rules(policy: Policy) -> list[Finding]:
    """The rules that cannot decide whatever the data: exact, and not complete."""
    constants, implications = _constants(policy), Implications()
    found: list[Finding] = []
    for index, rule in enumerate(policy.rules):
        name, earlier = f"rule '{rule.id}'", policy.rules[:index]
        same = next((other for other in earlier if other.condition.meaning == rule.condition.meaning), None)
        wider = next((other for other in earlier if implications.holds(rule.condition, other.condition)), None)
        always = next((other for other in earlier if constants.get(other.id)), None)
        if constants.get(rule.id, True) is not True:
            why = f"{name} can never decide: its condition reads nothing and never holds; remove it"
        elif same is not None:
            why = f"{name} can never decide: '{same.id}' above it has the same condition; remove one of them"
        elif always is not None:
            why = f"{name} can never decide: '{always.id}' above it always holds; move '{always.id}' to the end"
        elif wider is not None:
            why = (
                f"{name} can never decide: wherever it holds, '{wider.id}' above it holds too; "
                f"move it above '{wider.id}', or remove it"
            )
        else:
            continue
        found.append(_warning("dead_rule", why, rule.id))
    return found


def _constants(policy: Policy) -> dict[str, bool | None]:
    """What the conditions that read no column come to."""
    constant = [rule for rule in policy.rules if not rule.condition.columns]
    if not constant:
        return {}
    conditions = ", ".join(condition_tree(policy, rule.condition).sql(dialect="duckdb") for rule in constant)
    with duckdb.connect() as connection:
        [values] = connection.execute(f"SELECT {conditions}").fetchall()
    return dict(zip((rule.id for rule in constant), values, strict=True))


def _off_scale(policy: Policy) -> Iterable[Finding]:
    """The comparisons of a share with a number that no share can be."""
    asked = [(f"rule '{rule.id}'", [rule.id], rule.condition) for rule in policy.rules]
    asked += [(SENT_TEXT, [], policy.sent_text.condition)] if policy.sent_text is not None else []
    for name, rules, condition in asked:
        for column, number in dict.fromkeys(limits_off_scale(condition.meaning)):
            yield _warning(
                "off_scale",
                f"{name} compares {column} with {number:g}, and it is between 0 and 1; write a share, as in 0.5",
                *rules,
            )


def _given_tiers(policy: Policy) -> set[Tier]:
    tiers = {rule.tier for rule in policy.rules if rule.tier is not None}
    return tiers | ({policy.sent_text.tier} if policy.sent_text is not None else set())


def _tiers_without_rules(policy: Policy) -> Iterable[Finding]:
    given, training = _given_tiers(policy), policy.training
    named = {
        # By default all tiers train, which names none.
        "training.tiers": training.tiers if "tiers" in training.model_fields_set else (),
        "training.weights": training.weights,
        "audit.precision": policy.audit.precision,
    }
    for place, tiers in named.items():
        for tier in tiers:
            if tier not in given:
                yield _warning(
                    "tier_without_rule", f"{place} names the tier '{tier}', which no rule gives; remove it there"
                )
    for tier in training.weights:
        if tier in given and tier not in training.tiers:
            yield _warning(
                "weight_unused",
                f"training.weights names the tier '{tier}', which training.tiers leaves out; remove it or let it train",
            )


def _untrained_labels(policy: Policy) -> Iterable[Finding]:
    factors = policy.training.factors()
    trains = {rule.label for rule in policy.rules if rule.tier and rule.weight * factors.get(rule.tier, 0.0)}
    sent = policy.sent_text
    if sent is not None and sent.weight * factors.get(sent.tier, 0.0):
        trains.add(Label.DESIRABLE)
    for label in (Label.DESIRABLE, Label.UNDESIRABLE):
        if label not in trains:
            yield _warning(
                "class_missing",
                f"no {label} label trains under this policy, and training needs both classes; "
                f"give a rule that is {label} a tier that trains and a weight above 0",
            )


def _useless_settings(policy: Policy) -> Iterable[Finding]:
    awaited = {signal for condition in _conditions(policy) for signal in condition.signals}
    columns = _columns_read(policy)
    for signal in policy.maturity:
        if signal not in awaited:
            yield _warning(
                "wait_for_nothing",
                f"maturity.{signal} delays no label: no rule reads what '{signal}' changes; "
                f"remove it, or read {' or '.join(_columns_of(signal))} in a rule",
            )
    for setting, given, column in (
        ("terms", policy.terms, "edit_kind"),
        ("reading_speed", policy.reading_speed, SECONDS_TO_READ),
    ):
        if given and column not in columns:
            yield _warning(
                "setting_unused", f"{setting} changes nothing: no rule reads {column}; remove it, or read {column}"
            )


def _notes(policy: Policy) -> Iterable[Finding]:
    tiers = [tier for tier in Tier if tier not in _given_tiers(policy)]
    if tiers:
        yield _note("tier_unused", f"no rule gives the tier {_either(tiers)}")
    # A ranking's own two signals come with it.
    late = _signals_read(policy) - policy.maturity.keys() - {"preferred", "not_preferred"}
    if late:
        yield _note(
            "not_awaited",
            f"no window under maturity for {', '.join(sorted(late))}: a label is final without waiting for them, and "
            "one that comes later is recorded as a correction",
        )
    unread = [column for column in CONDITION_COLUMNS if column not in _columns_read(policy)]
    if unread:
        yield _note("columns_unread", f"no rule reads {', '.join(unread)}")


def _either(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _conditions(policy: Policy) -> list[Condition]:
    """All that is asked of a draft: by the rules, and for its final text to be a row of its own."""
    sent = policy.sent_text.conditions if policy.sent_text is not None else ()
    return [*(rule.condition for rule in policy.rules), *sent]


def _columns_read(policy: Policy) -> set[str]:
    return {column for condition in _conditions(policy) for column in condition.columns}


def _signals_read(policy: Policy) -> set[str]:
    """The signals that some condition asks after; who, why, when first and how fast say not which it was."""
    columns = _columns_read(policy) - {"agent_id", "reasons", "decided_at", "seconds_to_decision"}
    return {signal for column in columns for signal in COLUMN_SIGNALS.get(column, ())}


def _columns_of(signal: str) -> list[str]:
    """The columns that are about `signal` alone."""
    return [column for column, signals in COLUMN_SIGNALS.items() if signals == (signal,)]
