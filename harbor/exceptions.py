"""The error that harbor raises for a mistake that the caller can correct."""


class HarborError(Exception):
    """A mistake of the caller; its message is one sentence: what is wrong, where, and what to do."""
