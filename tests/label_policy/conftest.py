"""Interactions as the feedback package builds them, and a policy's labels for them from DuckDB."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from label_policy import DECISION_SIGNALS, INTERACTION_COLUMNS, Policy, ValueType, compile_policy

ARROW_TYPES = {
    ValueType.TEXT: pa.string(),
    ValueType.NUMBER: pa.float64(),
    ValueType.TIME: pa.timestamp("us", "UTC"),
    ValueType.TEXTS: pa.list_(pa.string()),
}
SCHEMA = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in INTERACTION_COLUMNS.items()])
DECISIONS = [f"{signal}_at" for signal in DECISION_SIGNALS]
SHOWN = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def connection():
    with duckdb.connect() as connection:
        # A session whose clock changes in between, to show that no result depends on it.
        connection.execute("SET TimeZone = 'Europe/Berlin'")
        yield connection


@pytest.fixture(scope="session")
def decide(connection) -> Callable[[Policy, list[dict]], list[dict]]:
    """Label interactions, given as dicts of some of their columns, and return the rows with the derived columns."""

    queries: dict[str, str] = {}  # a policy is compiled once

    def run(policy: Policy, rows: list[dict]) -> list[dict]:
        if policy.digest not in queries:
            queries[policy.digest] = compile_policy(policy)
        connection.register("interactions", pa.Table.from_pylist(rows, schema=SCHEMA))
        table = connection.sql(queries[policy.digest]).to_arrow_table()
        assert table.column_names == [*INTERACTION_COLUMNS, "rule", "label", "tier", "weight", "matures_at"]
        assert table.schema.field("weight").type == pa.float64()
        assert table.schema.field("tier").type == pa.string()
        return [
            row | {"matures_at": row["matures_at"] and row["matures_at"].astimezone(UTC)} for row in table.to_pylist()
        ]

    return run


@pytest.fixture(scope="session")
def at() -> Callable[[float], datetime]:
    """Return a function from minutes after the showing of a draft to the moment."""
    return lambda minutes: SHOWN + timedelta(minutes=minutes)


@pytest.fixture(scope="session")
def interaction(at) -> Callable[..., dict]:
    """Build an interaction: signals as minutes after the showing, other columns unchanged."""

    def build(**given) -> dict:
        row = {"draft_id": "d1", "ticket_id": "t1", "shown_at": SHOWN, "completion": "Reset it.", "reasons": []}
        for name, value in given.items():
            is_time = INTERACTION_COLUMNS[name] is ValueType.TIME
            row[name] = at(value) if is_time and value is not None else value
        decisions = [row[name] for name in DECISIONS if row.get(name)]
        row.setdefault("decided_at", min(decisions, default=None))
        if row["decided_at"] is not None:
            row.setdefault("seconds_to_decision", (row["decided_at"] - SHOWN).total_seconds())
        return row

    return build
