"""Errors that a user can fix: wrong paths, configs, rows and models."""


class TrainingError(Exception):
    """A wrong input of the user; the message is one sentence: the error, its place, what to do."""
