"""Example rows of a policy change for people: the texts, the deciding rule and its reason, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import duckdb
import pyarrow as pa

from feedback.lake.event_schema import SENT_SUFFIX
from feedback.policy_changes.term_edits import find_term_edit
from feedback.training_set.redaction import install_redaction
from label_policy import (
    CONDITION_COLUMNS,
    DRAFT_COLUMN_NAMES,
    INTERACTION_COLUMNS,
    SENT_TEXT,
    SIGNALS,
    EditKind,
    Policy,
    Rule,
    SentText,
)
from label_policy.schema.columns import SECONDS_TO_READ

_TEXTS = ("completion", "final_text")
_KIND = "edit_kind"
# Columns that every draft has and that are no evidence of its quality.
_KEYS = ("draft_id", "ticket_id", "agent_id", "source", *DRAFT_COLUMN_NAMES, "shown_at", "decided_at")
_TIMES = tuple(f"{signal}_at" for signal in SIGNALS)

# Texts are redacted as in a training set, because people share plans. If the interaction is gone, the label has them.
# Lists of literals are filters that reach the files; a join would read whole days with all their texts.
_SQL = f"""
WITH interaction_rows AS MATERIALIZED (
    SELECT * FROM interactions WHERE list_contains($days, shown_date) AND list_contains($ids, draft_id)
),
label_rows AS MATERIALIZED (
    SELECT * FROM labels WHERE list_contains($days, shown_date) AND list_contains($ids, draft_id)
)
SELECT
    d.row,
    coalesce(i.category, l.category) AS category, coalesce(i.shown_at, l.shown_at) AS shown_at,
    redact(list_last(coalesce(i.prompt, l.prompt)).content) AS prompt,
    redact(coalesce(i.completion, l.completion)) AS completion,
    redact(coalesce(i.final_text, l.final_text)) AS final_text,
    struct_pack({", ".join(f"{name} := i.{name}" for name in INTERACTION_COLUMNS)}) AS interaction,
    coalesce(l.policy_digest, '') AS policy_digest
FROM drawn AS d
LEFT JOIN interaction_rows AS i ON i.shown_date = d.shown_date AND i.draft_id = d.base
LEFT JOIN label_rows AS l ON l.shown_date = d.shown_date AND l.draft_id = d.draft_id
ORDER BY d.row
"""


def read_examples(
    connection: duckdb.DuckDBPyConnection,
    drawn: Sequence[Mapping[str, Any]],
    *,
    policies: Mapping[str, Policy],
    before: Policy | None,
    after: Policy,
) -> list[dict[str, Any]]:
    """Return the texts, rules and signals of the `drawn` rows, in their order.

    Args:
        connection: sees `interactions` and `labels`.
        drawn: rows of `label_policy.checks.label_diff.Comparison.examples`.
        policies: policies by digest, for the reasons of the stored labels' rules.
        before: the old policy, or None where the old side is the stored labels.
        after: the new policy.

    Returns:
        For each row ``draft_id``, ``shown_date``, ``shown_at``, ``category``, ``kind``, ``is_sent_text`` (the row is
        the text that the agent sent and not the draft), ``prompt`` (its last message), ``completion``, ``final_text``
        (texts are redacted), and ``before`` and ``after``: None, or ``rule, label, tier, weight, matures_at``, ``why``
        (None where the policy is no longer readable), ``signals`` and ``term_edit``. ``signals`` are the columns that
        the rule reads with their values, without nulls; where no rule decided, everything that happened. ``term_edit``
        is None unless ``edit_kind`` is among the signals and is factual only by the policy's terms: then the ``terms``,
        and the kind ``without`` them.

    """
    install_redaction(connection)
    bases = [row["draft_id"].removesuffix(SENT_SUFFIX) if _is_sent_text(row) else row["draft_id"] for row in drawn]
    keys = {
        "row": pa.array(range(len(drawn)), pa.int64()),
        "shown_date": pa.array([row["shown_date"] for row in drawn], pa.date32()),
        "draft_id": pa.array([row["draft_id"] for row in drawn], pa.string()),
        "base": pa.array(bases, pa.string()),
    }
    connection.register("drawn", pa.table(keys))
    parameters = {"days": [row["shown_date"] for row in drawn], "ids": [*bases, *(row["draft_id"] for row in drawn)]}
    details = connection.sql(_SQL, params=parameters).to_arrow_table().to_pylist()
    examples = []
    for row, detail in zip(drawn, details, strict=True):
        old = before or policies.get(detail["policy_digest"])
        examples.append(
            {
                **{name: row[name] for name in ("draft_id", "shown_date", "kind")},
                "is_sent_text": _is_sent_text(row),
                **{name: detail[name] for name in ("category", "shown_at", "prompt", "completion", "final_text")},
                "before": _side(row, "before", old, detail["interaction"]),
                "after": _side(row, "after", after, detail["interaction"]),
            }
        )
    return examples


def _is_sent_text(row: Mapping[str, Any]) -> bool:
    return SENT_TEXT in (row["before_rule"], row["after_rule"])


def _side(
    row: Mapping[str, Any], side: str, policy: Policy | None, interaction: Mapping[str, Any]
) -> dict[str, Any] | None:
    verdict = {name: row[f"{side}_{name}"] for name in ("rule", "label", "tier", "weight", "matures_at")}
    if verdict["rule"] is None:
        return None
    rule = find_rule(policy, verdict["rule"]) if policy else None
    signals = _signals(policy, rule, interaction)
    edit = find_term_edit(policy, interaction) if policy and _KIND in signals else None
    if edit is not None:
        signals[_KIND] = EditKind.FACTUAL.value
    return {**verdict, "why": rule and rule.why, "signals": signals, "term_edit": edit and asdict(edit)}


def find_rule(policy: Policy, rule: str) -> Rule | SentText | None:
    """Return the policy's rule with that id, or its section `sent_text`; None where it has no such rule."""
    if rule == SENT_TEXT:
        return policy.sent_text
    return next((other for other in policy.rules if other.id == rule), None)


def _signals(policy: Policy | None, rule: Rule | SentText | None, interaction: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the interaction that the rule read, with the stored edit kind."""
    read = rule.condition.columns if rule else _TIMES
    values = dict(interaction)
    if policy is not None and policy.reading_speed and values["completion"] is not None:
        values[SECONDS_TO_READ] = len(values["completion"]) / policy.reading_speed
    return {
        name: values[name]
        for name in CONDITION_COLUMNS
        if name in read and name not in _TEXTS + _KEYS and values.get(name) not in (None, [])
    }
