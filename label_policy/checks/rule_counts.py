"""Count how often each rule of a policy holds, and how often it decides, on a relation of interactions.

One pass over few columns: rows are grouped by the rule that decides them, and every rule's condition is counted in each
group. This also shows which rules decided the rows where a rule holds and does not decide::

    SELECT CASE WHEN holds_0 THEN 0 WHEN holds_1 THEN 1 … ELSE n END AS decided,
      count(*), count(*) FILTER (holds_0), count(*) FILTER (holds_1), …
    FROM (SELECT <condition 0> AS holds_0, <condition 1> AS holds_1, … FROM interactions)
    GROUP BY decided
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from label_policy.conditions.condition import Condition, parse_condition
from label_policy.engines.compiler import compile_sent_texts, condition_tree
from label_policy.policy.model import NO_RULE, Policy
from label_policy.policy.sections import SENT
from label_policy.schema.columns import SIGNALS
from label_policy.schema.event_kinds import RANKING_SIGNALS


@dataclass(frozen=True, kw_only=True)
class RuleCoverage:
    """Counts of one rule on the data.

    Attributes:
        rule: its id.
        holds: rows where its condition is true, no matter which rule decides.
        unknown: rows where its condition is NULL.
        decides: rows that it decides.
        taken_by: rows where it holds but an earlier rule decides, by that rule's id, the most first.

    """

    rule: str
    holds: int
    unknown: int
    decides: int
    taken_by: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Counts of a policy on the data.

    Attributes:
        interactions: rows counted.
        first_shown, last_shown: the first and last showing among them; None where there is no row.
        rules: in the policy's order.
        undecided: rows that no rule decides.
        rankings: rows that are one text of a ranking.
        undecided_rankings: rankings' rows that no rule decides.
        signals: rows with each signal; signals that never came are left out.
        edited: drafts with a logged text that was sent instead.
        sent_texts: edited drafts that get a row from the policy's ``sent_text`` section.

    """

    interactions: int
    first_shown: datetime | None
    last_shown: datetime | None
    rules: tuple[RuleCoverage, ...]
    undecided: int
    rankings: int
    undecided_rankings: int
    signals: dict[str, int]
    edited: int
    sent_texts: int


def measure_coverage(
    connection: duckdb.DuckDBPyConnection, policy: Policy, *, relation: str = "interactions"
) -> Coverage:
    """Count how often the policy's rules hold and decide on `relation`.

    Args:
        connection: sees the relation.
        policy: the policy.
        relation: the name of a table or view with the columns of `INTERACTION_COLUMNS`.

    """
    groups = connection.sql(_coverage_query(policy, relation)).to_arrow_table().to_pylist()
    names = [rule.id for rule in policy.rules]
    decided = {(*names, NO_RULE)[group["decided"]]: group for group in groups}
    undecided = decided.get(NO_RULE, {})
    signals = {signal: _total(groups, f"came_{signal}") for signal in SIGNALS}
    sent_texts = 0
    if policy.sent_text is not None:
        query = compile_sent_texts(policy, relation=relation)
        [(sent_texts,)] = connection.execute(f"SELECT count(*) FROM ({query})").fetchall()
    return Coverage(
        interactions=_total(groups, "rows"),
        first_shown=min((group["first_shown"] for group in groups), default=None),
        last_shown=max((group["last_shown"] for group in groups), default=None),
        rules=tuple(_rule_coverage(index, rule, decided, groups) for index, rule in enumerate(names)),
        undecided=undecided.get("rows", 0),
        rankings=_total(groups, "rankings"),
        undecided_rankings=undecided.get("rankings", 0),
        signals={signal: count for signal, count in signals.items() if count},
        edited=_total(groups, "edited"),
        sent_texts=sent_texts,
    )


def _total(groups: list[dict[str, Any]], name: str) -> int:
    return sum(group[name] for group in groups)


def _rule_coverage(
    index: int, rule: str, decided: dict[str, dict[str, Any]], groups: list[dict[str, Any]]
) -> RuleCoverage:
    elsewhere = {other: group[f"true_{index}"] for other, group in decided.items() if other != rule}
    return RuleCoverage(
        rule=rule,
        holds=_total(groups, f"true_{index}"),
        unknown=_total(groups, f"null_{index}"),
        decides=decided[rule]["rows"] if rule in decided else 0,
        taken_by=dict(sorted(((o, n) for o, n in elsewhere.items() if n), key=lambda item: (-item[1], item[0]))),
    )


def _coverage_query(policy: Policy, relation: str) -> str:
    def written(condition: Condition) -> str:
        return condition_tree(policy, condition).sql(dialect="duckdb")

    conditions = [written(rule.condition) for rule in policy.rules]
    facts = [
        "shown_at",
        *(f"{signal}_at" for signal in SIGNALS),
        # As a flag, so that no text is held.
        f"{' AND '.join(written(parse_condition(text)) for text in SENT)} AS is_edited",
        f"{' OR '.join(f'{signal}_at IS NOT NULL' for signal in RANKING_SIGNALS)} AS is_ranking",
        *(f"({condition}) AS holds_{index}" for index, condition in enumerate(conditions)),
    ]
    decided = " ".join(f"WHEN holds_{index} THEN {index}" for index in range(len(conditions)))
    counts = [
        "count(*) AS rows",
        "min(shown_at) AS first_shown",
        "max(shown_at) AS last_shown",
        "count(*) FILTER (is_edited) AS edited",
        "count(*) FILTER (is_ranking) AS rankings",
        *(f"count({signal}_at) AS came_{signal}" for signal in SIGNALS),
    ]
    for index in range(len(conditions)):
        counts += [
            f"count(*) FILTER (holds_{index}) AS true_{index}",
            f"count(*) FILTER (holds_{index} IS NULL) AS null_{index}",
        ]
    return (
        f"SELECT CASE {decided} ELSE {len(conditions)} END AS decided, {', '.join(counts)}"
        f" FROM (SELECT {', '.join(facts)} FROM {relation}) GROUP BY decided"
    )
