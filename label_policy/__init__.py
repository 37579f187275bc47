"""Label policies: versioned definitions of a good draft.

Agents react to a copilot's drafts: they send, edit, reject, thumb or ignore them; tickets reopen or escalate later. A
label policy turns the history of one draft (an *interaction*) into a label for training. It is a YAML file that a
support lead can read: ordered rules, each with a SQL condition over the interaction's columns, a label, a tier (how far
the label can be trusted), a weight, and a sentence of why. The first rule that holds decides.

>>> policy = load_policy(shipped_policies()["harbor-support.v1"])
>>> policy.rules[0].id, str(policy.rules[0].label), str(policy.rules[0].tier)
('safety_flag', 'undesirable', 'critical')
>>> query = compile_policy(policy, relation="interactions", dialect="duckdb")

`load_policy` validates a file, with file, line and field in every error. `compile_policy` compiles a policy to one
query in any of five SQL dialects; `label_with_polars` labels a frame without SQL. `Policy.digest` identifies its
meaning. `classify_edit` returns the kind of an agent's edit, and `draw_sample` draws the labels that people should
check. Every user error raises `PolicyError`.

The import of the package is light: each name below loads its module on first use.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from label_policy.audits.draw import draw_sample
    from label_policy.conditions.condition import Condition, parse_condition
    from label_policy.edits.edit_kinds import (
        classify_edit,
        classify_edits,
        edit_similarities,
        edit_similarity,
        terms_changed,
    )
    from label_policy.engines.compiler import compile_policy, compile_sent_texts
    from label_policy.engines.dialect_names import DIALECTS
    from label_policy.engines.polars_labels import label_with_polars, sent_texts_with_polars
    from label_policy.exceptions import PolicyError
    from label_policy.policy.fields import CLASSES, Failing, Label, State, Tier, strength
    from label_policy.policy.model import NO_RULE, Policy, Rule
    from label_policy.policy.policy_file import dump_policy, load_policy, parse_policy
    from label_policy.policy.sections import SENT_TEXT, Audit, SentText, Training
    from label_policy.policy.shipped import shipped_policies
    from label_policy.schema.blank_text import WHITE_SPACE, is_blank
    from label_policy.schema.columns import (
        BELOW_FACTUAL,
        CONDITION_COLUMNS,
        DECISION_SIGNALS,
        INTERACTION_COLUMNS,
        SIGNALS,
        EditKind,
        ValueType,
    )
    from label_policy.schema.draft_columns import DRAFT_COLUMN_NAMES, DRAFT_COLUMNS, TRAINING_COLUMN_NAMES, DraftColumn
    from label_policy.schema.event_kinds import EVENT_KINDS, RANKING_SIGNALS, About, EventKind

__all__ = [
    "BELOW_FACTUAL",
    "CLASSES",
    "CONDITION_COLUMNS",
    "DECISION_SIGNALS",
    "DIALECTS",
    "DRAFT_COLUMNS",
    "DRAFT_COLUMN_NAMES",
    "EVENT_KINDS",
    "INTERACTION_COLUMNS",
    "NO_RULE",
    "RANKING_SIGNALS",
    "SENT_TEXT",
    "SIGNALS",
    "TRAINING_COLUMN_NAMES",
    "WHITE_SPACE",
    "About",
    "Audit",
    "Condition",
    "DraftColumn",
    "EditKind",
    "EventKind",
    "Failing",
    "Label",
    "Policy",
    "PolicyError",
    "Rule",
    "SentText",
    "State",
    "Tier",
    "Training",
    "ValueType",
    "classify_edit",
    "classify_edits",
    "compile_policy",
    "compile_sent_texts",
    "draw_sample",
    "dump_policy",
    "edit_similarities",
    "edit_similarity",
    "is_blank",
    "label_with_polars",
    "load_policy",
    "parse_condition",
    "parse_policy",
    "sent_texts_with_polars",
    "shipped_policies",
    "strength",
    "terms_changed",
]

_HOME = {
    "BELOW_FACTUAL": "schema.columns",
    "CLASSES": "policy.fields",
    "CONDITION_COLUMNS": "schema.columns",
    "DECISION_SIGNALS": "schema.columns",
    "DIALECTS": "engines.dialect_names",
    "DRAFT_COLUMNS": "schema.draft_columns",
    "DRAFT_COLUMN_NAMES": "schema.draft_columns",
    "EVENT_KINDS": "schema.event_kinds",
    "INTERACTION_COLUMNS": "schema.columns",
    "NO_RULE": "policy.model",
    "RANKING_SIGNALS": "schema.event_kinds",
    "SENT_TEXT": "policy.sections",
    "SIGNALS": "schema.columns",
    "TRAINING_COLUMN_NAMES": "schema.draft_columns",
    "WHITE_SPACE": "schema.blank_text",
    "About": "schema.event_kinds",
    "Audit": "policy.sections",
    "Condition": "conditions.condition",
    "DraftColumn": "schema.draft_columns",
    "EditKind": "schema.columns",
    "EventKind": "schema.event_kinds",
    "Failing": "policy.fields",
    "Label": "policy.fields",
    "Policy": "policy.model",
    "PolicyError": "exceptions",
    "Rule": "policy.model",
    "SentText": "policy.sections",
    "State": "policy.fields",
    "Tier": "policy.fields",
    "Training": "policy.sections",
    "ValueType": "schema.columns",
    "classify_edit": "edits.edit_kinds",
    "classify_edits": "edits.edit_kinds",
    "compile_policy": "engines.compiler",
    "compile_sent_texts": "engines.compiler",
    "draw_sample": "audits.draw",
    "dump_policy": "policy.policy_file",
    "edit_similarities": "edits.edit_kinds",
    "edit_similarity": "edits.edit_kinds",
    "is_blank": "schema.blank_text",
    "label_with_polars": "engines.polars_labels",
    "load_policy": "policy.policy_file",
    "parse_condition": "conditions.condition",
    "parse_policy": "policy.policy_file",
    "sent_texts_with_polars": "engines.polars_labels",
    "shipped_policies": "policy.shipped",
    "strength": "policy.fields",
    "terms_changed": "edits.edit_kinds",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"label_policy.{_HOME[name]}"), name)
    raise AttributeError(f"module 'label_policy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
