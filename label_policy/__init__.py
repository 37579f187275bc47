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
for any of five SQL dialects, `label_with_polars` labels a frame without any, `Policy.digest` identifies its meaning,
`classify_edit` says what an agent's edit changed, and `draw_sample` picks the labels that people should check.
Everything that a user can get wrong raises `PolicyError`.

Importing the package is light; each name below loads its module on first use.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from label_policy.audit import draw_sample
    from label_policy.blank import WHITE_SPACE, is_blank
    from label_policy.columns import (
        CONDITION_COLUMNS,
        DECISION_SIGNALS,
        EDIT_KINDS,
        INTERACTION_COLUMNS,
        SIGNALS,
        ValueType,
    )
    from label_policy.compiler import compile_policy, compile_sent_texts
    from label_policy.conditions import Condition, parse_condition
    from label_policy.dialect_names import DIALECTS
    from label_policy.edits import (
        EditKind,
        classify_edit,
        classify_edits,
        edit_similarities,
        edit_similarity,
        terms_changed,
    )
    from label_policy.exceptions import PolicyError
    from label_policy.fields import Failing, Label, Tier
    from label_policy.loading import dump_policy, load_policy, parse_policy
    from label_policy.polars_labels import label_with_polars, sent_texts_with_polars
    from label_policy.policy import NO_RULE, Policy, Rule
    from label_policy.sections import SENT_TEXT, Audit, SentText, Training
    from label_policy.shipped import shipped_policies

__all__ = [
    "CONDITION_COLUMNS",
    "DECISION_SIGNALS",
    "DIALECTS",
    "EDIT_KINDS",
    "INTERACTION_COLUMNS",
    "NO_RULE",
    "SENT_TEXT",
    "SIGNALS",
    "WHITE_SPACE",
    "Audit",
    "Condition",
    "EditKind",
    "Failing",
    "Label",
    "Policy",
    "PolicyError",
    "Rule",
    "SentText",
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
    "terms_changed",
]

_HOME = {
    "CONDITION_COLUMNS": "columns",
    "DECISION_SIGNALS": "columns",
    "DIALECTS": "dialect_names",
    "EDIT_KINDS": "columns",
    "INTERACTION_COLUMNS": "columns",
    "NO_RULE": "policy",
    "SENT_TEXT": "sections",
    "SIGNALS": "columns",
    "WHITE_SPACE": "blank",
    "Audit": "sections",
    "Condition": "conditions",
    "EditKind": "edits",
    "Failing": "fields",
    "Label": "fields",
    "Policy": "policy",
    "PolicyError": "exceptions",
    "Rule": "policy",
    "SentText": "sections",
    "Tier": "fields",
    "Training": "sections",
    "ValueType": "columns",
    "classify_edit": "edits",
    "classify_edits": "edits",
    "compile_policy": "compiler",
    "compile_sent_texts": "compiler",
    "draw_sample": "audit",
    "dump_policy": "loading",
    "edit_similarities": "edits",
    "edit_similarity": "edits",
    "is_blank": "blank",
    "label_with_polars": "polars_labels",
    "load_policy": "loading",
    "parse_condition": "conditions",
    "parse_policy": "loading",
    "sent_texts_with_polars": "polars_labels",
    "shipped_policies": "shipped",
    "terms_changed": "edits",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"label_policy.{_HOME[name]}"), name)
    raise AttributeError(f"module 'label_policy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
