"""The errors of this package that a person reads: one sentence that says what, where, and what to do."""

from __future__ import annotations


class FeedbackError(Exception):
    """Something that the caller can put right: a path, a setting, a log, a mapping."""


class SourceError(FeedbackError):
    """A source's SQL file cannot be used: it is missing, does not bind, or returns what is no event column."""
