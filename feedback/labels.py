"""Labels: the policy's verdict on every interaction of a day, with when it becomes final."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from feedback.lake import Lake
from feedback.scanning import view_stored
from feedback.tables import EVENTS, FILES, INTERACTIONS, LABELS
from label_policy import Policy, compile_policy, compile_sent_texts, terms_changed

_PART_ROWS: Final = 100_000
_VIEW = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


def build_labels(lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime) -> pa.Table:
    """Label the stored interactions shown on `days` by `policy`.

    A label is `final` once `matures_at` has passed as of this build *and* as of what its interaction was made from (its
    own `as_of`, and the logs that had arrived by then): what nobody looked at overturns nothing.

    Returns:
        A table in the schema of `LABELS`.

    """
    with _labelling(lake, policy, days, as_of) as labelled:
        return labelled.to_arrow_table().cast(LABELS.schema)


def label_parts(lake: Lake, policy: Policy, days: Sequence[date], *, as_of: datetime) -> Iterator[pa.Table]:
    """What `build_labels` builds, some rows at a time, so that memory need not hold them all."""
    with _labelling(lake, policy, days, as_of) as labelled:
        for part in labelled.to_arrow_reader(_PART_ROWS):
            yield pa.Table.from_batches([part]).cast(LABELS.schema)


@contextmanager
def _labelling(lake: Lake, policy: Policy, days: Sequence[date], as_of: datetime) -> Iterator[duckdb.DuckDBPyRelation]:
    """The labels, in the columns of `LABELS`: long columns that labels have no use for are never read."""
    with lake.sql(FILES) as connection:
        view_stored(connection, lake, EVENTS)
        view_stored(connection, lake, INTERACTIONS, days=days)
        view_labels(connection, policy, name="labelled", days=days, as_of=as_of)
        yield connection.sql(f"SELECT {', '.join(LABELS.schema.names)} FROM labelled")


def view_labels(
    connection: duckdb.DuckDBPyConnection, policy: Policy, *, name: str, days: Sequence[date], as_of: datetime
) -> None:
    """Make the view `name` of the labels that `policy` gives the interactions of `days`, in the columns of `LABELS`.

    Nothing is labelled before the view is read, and only the columns that are read are made.

    Args:
        connection: sees `EVENTS`, `FILES` and `INTERACTIONS`, as `Lake.sql` gives it.
        policy: the policy.
        name: of the view, which is temporary.
        days: UTC dates on which the drafts were shown.
        as_of: aware datetime: the moment that decides which labels are final.

    """
    connection.register(f"{name}_days", pa.table({"day": pa.array(sorted(days), pa.date32())}))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name}_settings AS {_SETTINGS}", _settings(policy, as_of))
    asked = f"SELECT * FROM interactions WHERE shown_date IN (SELECT day FROM {name}_days)"
    if policy.terms:
        connection.register(f"{name}_terms", _edits_of_terms(connection, policy, asked))
        changed = f"draft_id IN (SELECT draft_id FROM {name}_terms)"
        asked = f"SELECT * REPLACE (CASE WHEN {changed} THEN 'factual' ELSE edit_kind END AS edit_kind) FROM ({asked})"
    sent = compile_sent_texts(policy, relation="asked") if policy.sent_text else "SELECT * FROM drafts WHERE false"
    labelled = compile_policy(policy, relation="asked")
    view = _VIEW.format(asked=asked, labelled=labelled, sent=sent, settings=f"{name}_settings")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {view}")


# What a view has no parameters for. The logs reach to the end of the last whole arrival day, or to the last receipt
# where a clock ran ahead of it.
_SETTINGS = """
SELECT $name AS policy, $version AS policy_version, $digest AS policy_digest, CAST($as_of AS TIMESTAMPTZ) AS as_of,
    least($as_of, greatest(
        (SELECT CAST(max(arrival_date) + 1 AS TIMESTAMPTZ) FROM files WHERE arrival_date < CAST($as_of AS DATE)),
        (SELECT max(received_at) FROM events
            WHERE received_at <= $as_of AND arrival_date < CAST($as_of AS DATE)))) AS known_until
"""


def _settings(policy: Policy, as_of: datetime) -> dict[str, Any]:
    return {"name": policy.name, "version": policy.version, "digest": policy.digest, "as_of": as_of}


def _edits_of_terms(connection: duckdb.DuckDBPyConnection, policy: Policy, asked: str) -> pa.Table:
    """The drafts whose edit changed one of the policy's terms, which makes it factual."""
    edits = connection.sql(
        f"SELECT draft_id, completion, final_text FROM ({asked})"
        " WHERE edit_kind IN ('cosmetic', 'wording', 'substantive') AND trim(final_text) <> ''"
    ).to_arrow_table()
    changed = terms_changed(edits.column("completion"), edits.column("final_text"), policy.terms)
    return edits.select(["draft_id"]).filter(changed)


def summarise_labels(labels: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    """How many labels each combination of `columns` has, as rows of their values and the count, in their order."""
    counts = labels.group_by(list(columns)).aggregate([([], "count_all")])
    return sorted(
        (tuple(row.values()) for row in counts.select([*columns, "count_all"]).to_pylist()),
        key=lambda row: tuple((value is None, value) for value in row),
    )


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
