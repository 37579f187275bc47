"""What harbor raises when the caller can put it right."""


class HarborError(Exception):
    """A mistake of the caller: one sentence that says what is wrong, where, and what to do."""
