"""The one error of this package that is meant to be read by a person."""


class PolicyError(ValueError):
    """A policy, a condition or a request that cannot be used as written.

    The message is one sentence: what is wrong, where (file, line and field, as far as they are known), what to do.
    It is a ``ValueError`` so that pydantic carries it through validation and `load_policy` can add the place.
    """


class FieldError(PolicyError):
    """A `PolicyError` about one place inside a policy, before the file and line are known.

    Args:
        loc: the keys and indices that lead from where it was raised to the field, e.g. ``("rules", 2, "id")``.
        message: what is wrong with it and what to do.

    """

    def __init__(self, loc: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.loc = loc
