"""Names of the SQL dialects; this module loads no parser."""

from label_policy.exceptions import PolicyError

DIALECTS: tuple[str, ...] = ("duckdb", "spark", "bigquery", "snowflake", "postgres")
"""The dialects that a policy can be compiled to."""


def check_dialect(dialect: str) -> None:
    """Raise a PolicyError if `dialect` is not one of `DIALECTS`."""
    if dialect not in DIALECTS:
        raise PolicyError(f"there is no dialect '{dialect}'; choose one of {', '.join(DIALECTS)}")
