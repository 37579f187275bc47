"""Edits that are factual because they changed one of a policy's terms, and of another kind by all else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from label_policy import BELOW_FACTUAL, Policy, terms_changed


@dataclass(frozen=True, kw_only=True)
class TermEdit:
    """Why an edit is factual by a policy.

    Attributes:
        terms: the terms that the edit changed; none where it only changed their order.
        without: the kind that is stored, which the edit has without the policy's terms.

    """

    terms: tuple[str, ...]
    without: str


def find_term_edit(policy: Policy, interaction: Mapping[str, Any]) -> TermEdit | None:
    """What makes an interaction's edit factual by the policy's terms, or None where they make no difference."""
    draft, final, kind = (interaction[name] for name in ("completion", "final_text", "edit_kind"))
    if kind not in BELOW_FACTUAL or not terms_changed([draft], [final], policy.terms)[0].as_py():
        return None
    alone = (term for term in policy.terms if terms_changed([draft], [final], [term])[0].as_py())
    return TermEdit(terms=tuple(alone), without=kind)
