"""Compile a policy to one SQL query.

The rule is chosen once, by a CASE in a subquery; label, tier, weight and maturity follow from the rule's id::

    SELECT *,
      CASE WHEN rule IN ('thumbs_down', …) THEN 'undesirable' … ELSE 'abstain' END AS label, …
    FROM (SELECT *, CASE WHEN <condition 1> THEN 'safety_flag' … ELSE 'no_rule' END AS rule FROM interactions)

The query is built as a tree, never by joining text, and can be written in each of `DIALECTS`.
"""

from collections.abc import Collection, Iterable
from datetime import timedelta

import sqlglot
from sqlglot import exp

from label_policy.conditions.condition import Condition
from label_policy.conditions.grammar import span_literal
from label_policy.engines.dialect_names import check_dialect
from label_policy.engines.dialects import double, in_dialect, latest
from label_policy.exceptions import PolicyError
from label_policy.policy.fields import Label
from label_policy.policy.model import NO_RULE, Policy
from label_policy.policy.sections import SENT_TEXT
from label_policy.schema.columns import DECISION_SIGNALS, SECONDS_TO_READ

_TABLE_NAME = ("this", "db", "catalog")


def compile_policy(policy: Policy, *, relation: str = "interactions", dialect: str = "duckdb") -> str:
    """Return a query that labels every row of `relation`.

    Args:
        policy: the policy.
        relation: the table or view of interactions, with schema or catalog if needed, in DuckDB's spelling.
        dialect: one of `DIALECTS`.

    Returns:
        ``SELECT *, rule, label, tier, weight, matures_at``: rule, label and tier as text (tier is null where the label
        is ``abstain``), weight as a double (0 where the label is ``abstain``), and ``matures_at``, the time from
        which no signal that the policy waits for can change the label. A row that no rule decides has rule ``no_rule``.

    Raises:
        PolicyError: the dialect is unknown or the relation is not a table's name.

    """
    check_dialect(dialect)
    decided = exp.select("*", exp.alias_(_rule(policy, dialect), "rule")).from_(_table(relation))
    query = exp.select(
        "*",
        exp.alias_(_label(policy), "label"),
        exp.alias_(_tier(policy), "tier"),
        exp.alias_(_weight(policy), "weight"),
        exp.alias_(_matures_at(policy, dialect), "matures_at"),
    ).from_(decided.subquery("decided"))
    return query.sql(dialect=dialect, pretty=True)


def compile_sent_texts(policy: Policy, *, relation: str = "interactions", dialect: str = "duckdb") -> str:
    """Return a query for the edited drafts of `relation` whose final text becomes a row of its own.

    Args:
        policy: a policy with a ``sent_text`` section.
        relation: as in `compile_policy`.
        dialect: one of `DIALECTS`.

    Returns:
        ``SELECT *, rule, label, tier, weight, matures_at`` over the drafts where a different, not blank text was sent
        and the section's condition holds. The columns are the draft's; the caller must replace ``completion`` by
        ``final_text``.

    Raises:
        PolicyError: the policy has no such section, the dialect is unknown, or the relation is not a table's name.

    """
    check_dialect(dialect)
    section = policy.sent_text
    if section is None:
        raise PolicyError(f"policy {policy.id} has no sent_text section; add one to train on what agents sent")
    query = (
        exp.select(
            "*",
            exp.alias_(exp.Literal.string(SENT_TEXT), "rule"),
            exp.alias_(exp.Literal.string(Label.DESIRABLE), "label"),
            exp.alias_(exp.Literal.string(section.tier), "tier"),
            exp.alias_(double(section.weight), "weight"),
            exp.alias_(_after_windows(policy.maturity, section.signals, dialect), "matures_at"),
        )
        .from_(_table(relation))
        .where(*(condition_tree(policy, condition, dialect) for condition in section.conditions))
    )
    return query.sql(dialect=dialect, pretty=True)


def _table(relation: str) -> exp.Table:
    try:
        table = sqlglot.parse_one(relation, dialect="duckdb", into=exp.Table)
    except sqlglot.errors.SqlglotError:
        table = None
    # A table function parses as a table whose name is not an identifier; 'x.csv' as a table that DuckDB would open.
    parts = table.parts if table is not None else []
    extras = [name for name, value in table.args.items() if value and name not in _TABLE_NAME] if table else []
    if table is None or extras or "'" in relation or not all(isinstance(part, exp.Identifier) for part in parts):
        raise PolicyError(
            f"'{relation[:60]}' is not the name of a table or view; write it as in interactions or lake.interactions"
        )
    return table


def _rule(policy: Policy, dialect: str) -> exp.Case:
    choice = exp.Case()
    for rule in policy.rules:
        choice = choice.when(condition_tree(policy, rule.condition, dialect), exp.Literal.string(rule.id), copy=False)
    return choice.else_(exp.Literal.string(NO_RULE), copy=False)


def condition_tree(policy: Policy, condition: Condition, dialect: str = "duckdb") -> exp.Expr:
    """Return a condition in `dialect` that reads only stored columns of interactions."""

    def stored(node: exp.Expr) -> exp.Expr:
        if not (isinstance(node, exp.Column) and node.name == SECONDS_TO_READ and policy.reading_speed):
            return node
        characters = exp.cast(exp.Length(this=exp.column("completion")), exp.DType.DOUBLE)
        return exp.paren(exp.Div(this=characters, expression=double(policy.reading_speed)))

    return in_dialect(condition.tree, dialect).transform(stored, copy=False)


def _by_rule(groups: dict[exp.Expr, list[str]], default: exp.Expr) -> exp.Expr:
    """Return a CASE that gives each group of rules its value; without groups, the default alone."""
    if not groups:
        return default
    choice = exp.Case()
    for value, rules in groups.items():
        names = [exp.Literal.string(rule) for rule in rules]
        choice = choice.when(exp.column("rule").isin(*names), value, copy=False)
    return choice.else_(default, copy=False)


def _grouped(pairs: Iterable[tuple[exp.Expr, str]]) -> dict[exp.Expr, list[str]]:
    """Group the rules that share a value (trees compare and hash by content)."""
    groups: dict[exp.Expr, list[str]] = {}
    for value, rule in pairs:
        groups.setdefault(value, []).append(rule)
    return groups


def _label(policy: Policy) -> exp.Expr:
    labelled = [(exp.Literal.string(rule.label), rule.id) for rule in policy.rules if rule.label is not Label.ABSTAIN]
    return _by_rule(_grouped(labelled), exp.Literal.string(Label.ABSTAIN))


def _tier(policy: Policy) -> exp.Expr:
    tiers = [(exp.Literal.string(rule.tier), rule.id) for rule in policy.rules if rule.tier is not None]
    # The cast gives the column its type even where every rule abstains.
    return exp.cast(_by_rule(_grouped(tiers), exp.null()), exp.DType.TEXT)


def _weight(policy: Policy) -> exp.Expr:
    weights = [(double(rule.weight), rule.id) for rule in policy.rules if rule.weight]
    return _by_rule(_grouped(weights), double(0.0))


def _matures_at(policy: Policy, dialect: str) -> exp.Expr:
    """Return the time from which no signal that the policy waits for can change a row's label.

    A label decided by rule k changes only if the result of rule k or an earlier one changes. So only signals that rules
    1 … k read matter, and of those only signals with a window that have not come yet. `no_rule` depends on every rule.
    """
    read: set[str] = set()
    waits: list[tuple[exp.Expr, str]] = []
    for rule in policy.rules:
        read |= rule.condition.signals
        waits.append((_after_windows(policy.maturity, read, dialect), rule.id))
    *_, (last, _) = waits
    # Rules with the same wait as the last one need no branch of their own.
    return _by_rule(_grouped((wait, rule) for wait, rule in waits if wait != last), last)


def _after_windows(windows: dict[str, timedelta], read: Collection[str], dialect: str) -> exp.Expr:
    """Return the last decision (or the showing) plus the longest window of the signals in `read` still to come.

    A signal from before that decision counts as not come: columns hold the last time of each signal, and a ticket that
    was reopened before the reply was sent may be reopened after it.
    """
    shown = exp.column("shown_at")
    decisions = [exp.func("COALESCE", exp.column(f"{signal}_at"), shown.copy()) for signal in DECISION_SIGNALS]
    base = latest(decisions, dialect)
    waiting: dict[timedelta, list[exp.Expr]] = {}
    for signal, window in sorted(windows.items()):
        if signal in read:
            happened = exp.column(f"{signal}_at")
            earlier = exp.LT(this=happened.copy(), expression=base.copy())
            waiting.setdefault(window, []).extend([happened.is_(exp.null()), earlier])
    if not waiting:
        return base
    choice = exp.Case()
    # Longest first, so that the first missing signal sets the wait.
    for window, missing in sorted(waiting.items(), key=lambda item: item[0], reverse=True):
        until = exp.Add(this=base.copy(), expression=span_literal(window))
        choice = choice.when(exp.or_(*missing), until, copy=False)
    return choice.else_(base, copy=False)
