"""What counts as a good draft, written down and versioned.

Agents react to a copilot's drafts: they send, edit, reject, thumb or ignore them; tickets reopen or escalate later. A
label policy turns the record of one draft (an *interaction*) into a label that a model can be trained on. It is a YAML
file that a support lead can read: ordered rules, each a SQL condition over the interaction's columns, a label, a tier
that says how far it can be trusted, a weight, and a sentence of why. The first rule that holds decides.

>>> policy = load_policy(shipped_policies()["harbor-support.v1"])
>>> policy.rules[0].id, str(policy.rules[0].label), str(policy.rules[0].tier)
('safety_flag', 'undesirable', 'critical')
>>> query = compile_policy(policy, relation="interactions", dialect="duckdb")

`load_policy` validates (and says file, line and field where it cannot), `compile_policy` makes one query of the whole
for any of five SQL dialects, `label_with_polars` labels a frame without any (Polars is loaded on its first use),
`Policy.digest` identifies its meaning, `classify_edit` says what an agent's edit changed, and `draw_sample` picks the
labels that people should check. Everything that a user can get wrong raises `PolicyError`.
"""

import importlib
from typing import TYPE_CHECKING

from label_policy.audits.draw import draw_sample
from label_policy.conditions.condition import Condition, parse_condition
from label_policy.edits.edit_kinds import (
    classify_edit,
    classify_edits,
    edit_similarities,
    edit_similarity,
    terms_changed,
)
from label_policy.engines.compiler import DIALECTS, compile_policy, compile_sent_texts
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

if TYPE_CHECKING:
    from label_policy.engines.polars_labels import label_with_polars, sent_texts_with_polars

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


def __getattr__(name: str) -> object:
    if name in ("label_with_polars", "sent_texts_with_polars"):
        return getattr(importlib.import_module("label_policy.engines.polars_labels"), name)
    raise AttributeError(f"module 'label_policy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
