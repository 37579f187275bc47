"""What the command can end with."""

from __future__ import annotations

from feedback.exceptions import FeedbackError
from kto_core import TrainingError
from label_policy import PolicyError


class UsageError(FeedbackError):
    """The command was asked for something that makes no sense."""


USER_ERRORS = (FeedbackError, PolicyError, TrainingError)
"""Meant for a person: their message is the whole story."""
