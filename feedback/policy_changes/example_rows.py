"""Rows that a change of policy changes, made readable: the texts, what decided, and why, before and after."""

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
# Known of every draft, and no evidence of what it was worth.
_KEYS = ("draft_id", "ticket_id", "agent_id", "source", *DRAFT_COLUMN_NAMES, "shown_at", "decided_at")
_TIMES = tuple(f"{signal}_at" for signal in SIGNALS)

# Texts are redacted as in a training set, since a plan is passed on. Where the interaction is gone, the label has them.
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
    known: Mapping[str, Policy],
    before: Policy | None,
    after: Policy,
) -> list[dict[str, Any]]:
    """What there is to read of each of the `drawn` rows, in their order.

    Args:
        connection: sees `interactions` and `labels`.
        drawn: rows as `label_policy.checks.label_diff.Comparison.examples` gives them.
        known: policies by digest, for what the stored labels' rules say.
        before: the old policy, or None where the old side is what is stored.
        after: the new policy.

    Returns:
        Of each row ``draft_id``, ``shown_date``, ``shown_at``, ``category``, ``kind``, ``is_sent_text`` (the row is
        what the agent sent and not the draft), ``prompt`` (its last message), ``completion``, ``final_text`` (texts
        are redacted), and ``before`` and ``after``: None, or ``rule, label, tier, weight, matures_at``, ``why`` (None
        where the policy is not known any more) and ``signals``, the columns that the rule reads with their values,
        nulls left out; where no rule decided, all that happened. ``term_edit`` is there where ``edit_kind`` is among
        them and is factual only by the policy's terms: the ``terms``, and the kind ``without``; else it is None.

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
    found = connection.sql(_SQL, params=parameters).to_arrow_table().to_pylist()
    examples = []
    for row, read in zip(drawn, found, strict=True):
        old = before or known.get(read["policy_digest"])
        examples.append(
            {
                **{name: row[name] for name in ("draft_id", "shown_date", "kind")},
                "is_sent_text": _is_sent_text(row),
                **{name: read[name] for name in ("category", "shown_at", "prompt", "completion", "final_text")},
                "before": _side(row, "before", old, read["interaction"]),
                "after": _side(row, "after", after, read["interaction"]),
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
    """The rule of that id, or the section behind `sent_text`; None where the policy has no such rule."""
    if rule == SENT_TEXT:
        return policy.sent_text
    return next((other for other in policy.rules if other.id == rule), None)


def _signals(policy: Policy | None, rule: Rule | SentText | None, interaction: Mapping[str, Any]) -> dict[str, Any]:
    """What the rule read of the interaction, with the kind of edit that is stored."""
    read = rule.condition.columns if rule else _TIMES
    values = dict(interaction)
    if policy is not None and policy.reading_speed and values["completion"] is not None:
        values[SECONDS_TO_READ] = len(values["completion"]) / policy.reading_speed
    return {
        name: values[name]
        for name in CONDITION_COLUMNS
        if name in read and name not in _TEXTS + _KEYS and values.get(name) not in (None, [])
    }
