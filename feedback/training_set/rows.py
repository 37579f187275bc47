"""The rows and pairs of a training set, their counts, and the version that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from feedback.lake.sql_literals import literal, literals
from feedback.training_set.redaction import PATTERNS, install_redaction
from label_policy import CLASSES, TRAINING_COLUMN_NAMES, WHITE_SPACE, Label, Policy, Tier, strength

COLUMNS = (
    "prompt", "completion", "label", "weight", "tier", "rule", *TRAINING_COLUMN_NAMES, "ticket_id", "shown_date",
    "row_id", "precision",
)  # fmt: skip
PAIR_COLUMNS = (
    "prompt", "chosen", "rejected", "tier", "rule", *TRAINING_COLUMN_NAMES, "ticket_id", "shown_date", "row_id",
    "rejected_row_id",
)  # fmt: skip
# A set from before there was one of these columns keeps its name: a null in it is no part of a row.
_LATER = ("precision", *(name for name in TRAINING_COLUMN_NAMES if name != "category"))


class Fate(StrEnum):
    """The fate of a final label of a class; all but the first leave it out of the training set."""

    KEPT = "kept"
    BLANK = "blank"
    WEIGHTLESS = "weightless"
    NOT_TRAINED = "tier not trained"
    FAILED = "tier failed its audit"
    DUPLICATE = "duplicate"
    OVERRULED = "overruled"
    CONTRADICTED = "contradicted"


_HERE = Path(__file__).parent
_PLACEHOLDERS = {
    **{fate.name.lower(): literal(fate) for fate in Fate},
    "classes": literals(CLASSES),
    "desirable": literal(Label.DESIRABLE),
    "columns": ", ".join(TRAINING_COLUMN_NAMES),
    "better_columns": ", ".join(f"better.{name}" for name in TRAINING_COLUMN_NAMES),
}
_ROWS = (_HERE / "rows.sql").read_text(encoding="utf-8").format(**_PLACEHOLDERS)
_PAIRS = (_HERE / "preferences.sql").read_text(encoding="utf-8").format(**_PLACEHOLDERS)
# By ticket, so that no ticket is on both sides, and by a hash, so that a ticket never changes sides.
_SPLIT = """
CREATE OR REPLACE TEMP MACRO split_of(ticket, salt, heldout) AS CASE
    WHEN CAST('0x' || substr(sha256(salt || ':' || ticket), 1, 8) AS UBIGINT) < heldout * 4294967296
    THEN 'heldout' ELSE 'train'
END
"""


def training_rows(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    *,
    heldout: float,
    salt: str,
    excluded: Collection[str] = (),
    precision: Mapping[str, float] = MappingProxyType({}),
) -> pa.Table:
    """Every final label that says good or bad, with what becomes of it.

    Args:
        connection: sees `labels`.
        policy: says which tiers train, and what their weights are multiplied by.
        heldout: share of tickets, in [0, 1), that training never sees.
        salt: changes which tickets those are.
        excluded: tiers that do not train whatever the policy says, because they failed their audit.
        precision: by rule, the share of its labels that is right; a rule that is not in it was not measured.

    Returns:
        `COLUMNS`, and `split` (train or heldout) and `fate`, a `Fate`: a duplicate is one of a stronger or earlier row
        of the same text and label; a row is overruled by a stronger tier's label of the same text, and contradicted by
        one as strong. Ordered by `row_id`.

    """
    untrained = {"untrained": [str(Fate.FAILED if tier in excluded else Fate.NOT_TRAINED) for tier in Tier]}
    rows = _made(connection, _ROWS, policy, heldout, salt, excluded, **untrained)
    measured = pa.array([*precision.values(), None], pa.float64())
    place = pc.index_in(rows.column("rule"), value_set=pa.array([*precision], pa.string()))
    place = pc.fill_null(place, len(precision))
    return rows.add_column(rows.column_names.index("fate"), "precision", pc.take(measured, place))


def preference_pairs(
    connection: duckdb.DuckDBPyConnection, policy: Policy, *, heldout: float, salt: str, excluded: Collection[str] = ()
) -> pa.Table:
    """The pairs that the labels hold: `PAIR_COLUMNS` and `split`, ordered by `row_id` (the chosen text's).

    Arguments as for `training_rows`. Both texts' labels are final; a pair ranked both ways is left out.
    """
    return _made(connection, _PAIRS, policy, heldout, salt, excluded)


def _made(
    connection: duckdb.DuckDBPyConnection, sql: str, policy: Policy, heldout: float, salt: str,
    excluded: Collection[str], **more: list[str],
) -> pa.Table:  # fmt: skip
    install_redaction(connection)
    connection.execute(_SPLIT)
    factors = {tier: factor for tier, factor in policy.training.factors().items() if tier not in excluded}
    parameters = {
        **more,
        "salt": salt,
        "heldout": heldout,
        "tiers": [str(tier) for tier in Tier],  # strongest first: what decides between two labels of the same text
        "factors": [factors.get(tier) for tier in Tier],
        "white_space": WHITE_SPACE,
    }
    return connection.sql(sql, params=parameters).to_arrow_table()


def content_version(rows: pa.Table, pairs: pa.Table, audit: Mapping[str, Any] | None) -> str:
    """SHA-256, cut to 16 hex digits, over rows, then pairs, in `row_id` order, each as canonical JSON with its split.

    What the audit decided of them comes last, where there was one: whether and how they train. A null in a column that
    sets did not have from the start is no part of a row, such as a precision that was not measured. It depends on
    nothing but those: not on the machine, the library versions, or when and in what order they came.
    """
    digest = hashlib.sha256()
    for table, columns in ((rows, COLUMNS), (pairs, PAIR_COLUMNS)):
        # A batch at a time, since a row as Python objects takes many times its size as Arrow.
        for batch in table.select([*columns, "split"]).sort_by("row_id").to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                known = {name: value for name, value in row.items() if value is not None or name not in _LATER}
                digest.update(_canonical(known) + b"\n")
    if audit is not None:
        digest.update(_canonical(audit) + b"\n")
    return digest.hexdigest()[:16]


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=date.isoformat).encode()


def count_rows(rows: pa.Table) -> dict[str, Any]:
    """Rows by class and split, and by tier, rule and category within a class."""
    named = rows.append_column("class", pc.if_else(rows.column("label"), *map(str, CLASSES)))
    counts: dict[str, Any] = {"train": {}, "heldout": {}, "tier": {}, "rule": {}, "category": {}}

    def count(*columns: str) -> list[tuple[Any, ...]]:
        table = named.group_by(list(columns)).aggregate([([], "count_all")])
        return sorted(tuple(row.values()) for row in table.select([*columns, "count_all"]).to_pylist())

    named = named.set_column(
        named.column_names.index("category"), "category", pc.fill_null(named.column("category"), "none")
    )
    for split, name, number in count("split", "class"):
        counts[split][name] = number
    for column in ("tier", "rule", "category"):
        for value, name, number in count(column, "class"):
            counts[column].setdefault(value, {})[name] = number
    return {**counts, "tier": dict(sorted(counts["tier"].items(), key=lambda item: strength(item[0])))}


def count_redactions(rows: pa.Table) -> dict[str, int]:
    """How many values of each kind the texts of the rows have had replaced."""
    texts = pa.chunked_array(
        [
            *rows.column("completion").chunks,
            *pc.struct_field(pc.list_flatten(rows.column("prompt")), "content").chunks,
        ]
    )
    return {name: pc.sum(pc.count_substring(texts, f"[{name}]")).as_py() or 0 for name in PATTERNS}
