"""Texts as SQL literals: for views, which have no parameters, and where a planner must see the values."""

from __future__ import annotations

from collections.abc import Iterable


def literal(text: str) -> str:
    """The text as SQL: in single quotes, those in it doubled."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: Iterable[str]) -> str:
    """The texts as SQL, for the parentheses of an IN."""
    return ", ".join(map(literal, texts))
