"""Edits that are factual only because they changed one of a policy's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from label_policy import BELOW_FACTUAL, Policy, terms_changed


@dataclass(frozen=True, kw_only=True)
class TermEdit:
    """The terms that make an edit factual.

    Attributes:
        terms: the terms that the edit changed; none where it only changed their order.
        without: the stored edit kind, which holds without the policy's terms.

    """

    terms: tuple[str, ...]
    without: str


def find_term_edit(policy: Policy, interaction: Mapping[str, Any]) -> TermEdit | None:
    """Return the policy's terms that make an interaction's edit factual, or None where they make no difference."""
    draft, final, kind = (interaction[name] for name in ("completion", "final_text", "edit_kind"))
    if kind not in BELOW_FACTUAL or not terms_changed([draft], [final], policy.terms)[0].as_py():
        return None
    alone = (term for term in policy.terms if terms_changed([draft], [final], [term])[0].as_py())
    return TermEdit(terms=tuple(alone), without=kind)
