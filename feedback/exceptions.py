"""Errors that a person reads: each is one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations


class FeedbackError(Exception):
    """A fault that the caller can correct: in a path, a setting, a log or a mapping."""


class SourceError(FeedbackError):
    """A source's SQL file cannot be used: it is missing, does not bind, or returns a column that events do not have."""
