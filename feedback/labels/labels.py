"""Labels: the policy's verdict on every interaction of a day, with when it becomes final."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from feedback.lake.delta import Lake
from feedback.lake.event_schema import SENT_SUFFIX
from feedback.lake.parquet_scan import view_stored
from feedback.lake.sql_literals import literals
from feedback.lake.tables import INTERACTIONS, LABELS
from label_policy import (
    BELOW_FACTUAL,
    EditKind,
    Policy,
    State,
    compile_policy,
    compile_sent_texts,
    strength,
    terms_changed,
)

_PART_ROWS: Final = 100_000
PART_SCHEMA: Final = pa.schema([*LABELS.schema, ("completion_hash", pa.uint64())])
_VIEW = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


def build_labels(lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime) -> pa.Table:
    """Label the stored interactions shown on `days` by `policy`.

    A label is `final` once `matures_at` has passed as of this build *and* as of what its interaction was made from (its
    `known_until`): what nobody has looked at overturns nothing.

    Returns:
        A table in the schema of `LABELS`.

    """
    parts = (part.select(LABELS.schema.names) for part in label_parts(lake, policy, days, as_of=as_of))
    return pa.concat_tables([LABELS.schema.empty_table(), *parts])


def label_parts(
    lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime, version: int | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of `build_labels` in parts, so that memory need not hold them all.

    Takes the interactions as of a Delta `version`; by default as they are. The last column, `completion_hash`, tells
    whether two texts differ without keeping them: it is DuckDB's `hash`, which another release may change.
    """
    with lake.sql() as connection:
        view_stored(connection, lake, INTERACTIONS, days=days, version=version)
        view_labels(connection, policy, name="labelled", days=days, as_of=as_of)
        # By name: long columns that labels have no use for are never read.
        columns = ", ".join(LABELS.schema.names)
        labelled = connection.sql(f"SELECT {columns}, hash(completion) AS completion_hash FROM labelled")
        for part in labelled.to_arrow_reader(_PART_ROWS):
            yield pa.Table.from_batches([part]).cast(PART_SCHEMA)


def view_labels(
    connection: duckdb.DuckDBPyConnection, policy: Policy, *, name: str, days: Sequence[date], as_of: datetime
) -> None:
    """Make the view `name` of the labels that `policy` gives the interactions of `days`, in the columns of `LABELS`.

    Nothing is labelled before the view is read, and only the columns that are read are made.

    Args:
        connection: sees `INTERACTIONS`, as `Lake.sql` gives it.
        policy: the policy.
        name: of the view, which is temporary.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime: the moment that decides which labels are final.

    """
    connection.register(f"{name}_days", pa.table({"day": pa.array(sorted(days), pa.date32())}))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name}_settings AS {_SETTINGS}", _settings(policy, as_of))
    drafts = f"SELECT * FROM interactions WHERE shown_date IN (SELECT day FROM {name}_days)"
    if policy.terms:
        connection.register(f"{name}_terms", _edits_of_terms(connection, policy, drafts))
        changed = f"draft_id IN (SELECT draft_id FROM {name}_terms)"
        kind = f"CASE WHEN {changed} THEN '{EditKind.FACTUAL}' ELSE edit_kind END"
        drafts = f"SELECT * REPLACE ({kind} AS edit_kind) FROM ({drafts})"
    sent = compile_sent_texts(policy, relation="asked") if policy.sent_text else "SELECT * FROM drafts WHERE false"
    labelled = compile_policy(policy, relation="asked")
    view = _VIEW.format(
        asked=drafts, labelled=labelled, sent=sent, sent_suffix=SENT_SUFFIX, settings=f"{name}_settings",
        final=State.FINAL, provisional=State.PROVISIONAL,
    )  # fmt: skip
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {view}")


# What a view has no parameters for.
_SETTINGS = """
SELECT $name AS policy, $version AS policy_version, $digest AS policy_digest, CAST($as_of AS TIMESTAMPTZ) AS as_of
"""


def _settings(policy: Policy, as_of: datetime) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest, "as_of": as_of}


def _edits_of_terms(connection: duckdb.DuckDBPyConnection, policy: Policy, drafts: str) -> pa.Table:
    """The drafts whose edit changed one of the policy's terms, which makes it factual."""
    edits = connection.sql(
        f"SELECT draft_id, completion, final_text FROM ({drafts}) WHERE edit_kind IN ({literals(BELOW_FACTUAL)})"
    ).to_arrow_table()
    changed = terms_changed(edits.column("completion"), edits.column("final_text"), policy.terms)
    return edits.select(["draft_id"]).filter(changed)


def summarise_labels(labels: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    """How many labels each combination of `columns` has, as rows of their values and the count, in their order."""
    counts = labels.group_by(list(columns)).aggregate([([], "count_all")]).select([*columns, "count_all"])
    rows = (tuple(row.values()) for row in counts.to_pylist())
    return sorted(rows, key=lambda row: label_order(columns, row))


def label_order(columns: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
    """A key to sort the values of some of a label's columns by: tiers by strength, others as they are, nulls last."""
    places = zip(columns, values, strict=False)
    return tuple((value is None, strength(value) if name == "tier" else value) for name, value in places)


def labelled_days(lake: Lake) -> tuple[date, date] | None:
    """The first and last day that have interactions to label, or None where there is none."""
    with lake.sql(INTERACTIONS) as connection:
        [(first, last)] = connection.execute("SELECT min(shown_date), max(shown_date) FROM interactions").fetchall()
    return (first, last) if first else None


def count_labels(lake: Lake, first: date, last: date) -> dict[str, int]:
    """Labels of the drafts shown from `first` to `last`, by label, the most frequent first."""
    with lake.sql(LABELS) as connection:
        return dict(
            connection.execute(
                "SELECT label, count(*) FROM labels WHERE shown_date BETWEEN ? AND ? GROUP BY label ORDER BY 2 DESC, 1",
                [first, last],
            ).fetchall()
        )
