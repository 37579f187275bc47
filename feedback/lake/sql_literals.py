"""Write texts as SQL literals: for views, which take no parameters, and where a planner must see the values."""

from __future__ import annotations

from collections.abc import Iterable


def literal(text: str) -> str:
    """Return the text as an SQL literal: in single quotes, with its own single quotes doubled."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: Iterable[str]) -> str:
    """Return the texts as SQL literals, for the parentheses of an IN."""
    return ", ".join(map(literal, texts))
