"""Exceptions of this package, with messages for people."""


class PolicyError(ValueError):
    """Raised for a policy, a condition or a request that cannot be used as written.

    The message is one sentence: the error, its place (file, line and field, as far as known), and what to do.
    It is a ``ValueError`` so that pydantic carries it through validation and `load_policy` can add the place.
    """


class FieldError(PolicyError):
    """A `PolicyError` about one place inside a policy, before the file and line are known.

    Args:
        loc: keys and indices from the place of the error to the field, e.g. ``("rules", 2, "id")``.
        message: the error and what to do.

    """

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.loc = loc
