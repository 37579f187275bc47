"""What a training set holds: its rows and pairs, their counts, and the version that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from feedback.training_set.redaction import PATTERNS, install_redaction
from label_policy import WHITE_SPACE, Policy, Tier

COLUMNS = (
    "prompt", "completion", "label", "weight", "tier", "rule", "category", "ticket_id", "shown_date", "row_id",
    "precision",
)  # fmt: skip
PAIR_COLUMNS = (
    "prompt", "chosen", "rejected", "tier", "rule", "category", "ticket_id", "shown_date", "row_id", "rejected_row_id",
)  # fmt: skip
_NOT_TRAINED, _FAILED = "not trained", "failed its audit"
_HERE = Path(__file__).parent
_ROWS = (_HERE / "rows.sql").read_text(encoding="utf-8")
_PAIRS = (_HERE / "preferences.sql").read_text(encoding="utf-8")
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
        `COLUMNS`, and `split` (train or heldout) and `fate`: kept; or why it is left out: blank, weightless, tier not
        trained, tier failed its audit, duplicate (of a stronger or earlier row of the same text and label), overruled
        (by a stronger tier's label of the same text) or contradicted (by one as strong). Ordered by `row_id`.

    """
    untrained = {"untrained": [f"tier {_FAILED if tier in excluded else _NOT_TRAINED}" for tier in Tier]}
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

    What the audit decided of them comes last, where there was one: whether and how they train. A precision that
    was not measured is no part of a row. It depends on nothing but those: not on the machine, the library versions, or
    when and in what order they came.
    """
    digest = hashlib.sha256()
    for table, columns in ((rows, COLUMNS), (pairs, PAIR_COLUMNS)):
        # A batch at a time, since a row as Python objects takes many times its size as Arrow.
        for batch in table.select([*columns, "split"]).sort_by("row_id").to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                if row.get("precision", 0) is None:
                    del row["precision"]  # so that sets from before there were audits keep their names
                digest.update(_canonical(row) + b"\n")
    if audit is not None:
        digest.update(_canonical(audit) + b"\n")
    return digest.hexdigest()[:16]


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=date.isoformat).encode()


def count_rows(rows: pa.Table) -> dict[str, Any]:
    """Rows by class and split, and by tier, rule and category within a class."""
    named = rows.append_column("class", pc.if_else(rows.column("label"), "desirable", "undesirable"))
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
    return counts


def count_redactions(rows: pa.Table) -> dict[str, int]:
    """How many values of each kind the texts of the rows have had replaced."""
    texts = pa.chunked_array(
        [
            *rows.column("completion").chunks,
            *pc.struct_field(pc.list_flatten(rows.column("prompt")), "content").chunks,
        ]
    )
    return {name: pc.sum(pc.count_substring(texts, f"[{name}]")).as_py() or 0 for name in PATTERNS}
