"""Errors that end the command with a message."""

from __future__ import annotations

from feedback.exceptions import FeedbackError
from kto_core import TrainingError
from label_policy import PolicyError


class UsageError(FeedbackError):
    """The command's arguments make no sense for this desk or these files."""


USER_ERRORS = (FeedbackError, PolicyError, TrainingError)
"""Errors for a person: the message is enough, without a traceback."""
