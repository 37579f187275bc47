"""Which labels people should check: a stratified random sample with known probabilities.

Strata are label × tier × rule × category, so that a rare rule or category is read too and not drowned by the common
ones. Each row carries its inclusion probability, by which later estimates are weighted (Horvitz and Thompson, 1952):
over a stratum, the inverse probabilities of the rows drawn add up to the stratum's size.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from label_policy.exceptions import PolicyError

_KEYS = ("draft_id", "label", "tier", "rule", "category")

# Only the keys enter DuckDB: the texts stay in Arrow, and the sample keeps the schema of the labels it was drawn from.
# The category comes last, because it alone may hold any character; it may be missing, like the tier.
_KEYED = """
    SELECT row_index, draft_id, label,
        concat_ws('|', label, coalesce(tier, ''), rule, coalesce(category, '')) AS stratum
    FROM keys WHERE label IN ('desirable', 'undesirable')
"""
_SIZES = f"""
    SELECT stratum, any_value(label) AS label, count(*) AS size
    FROM ({_KEYED}) GROUP BY stratum ORDER BY stratum
"""
# Hashes are counted in half the time that texts take; two texts may share one, so texts are counted to be sure.
_ALL_DISTINCT = f"SELECT count(DISTINCT hash(draft_id)) = count(*) FROM ({_KEYED})"
_REPEATED = f"SELECT draft_id FROM ({_KEYED}) GROUP BY draft_id HAVING count(*) > 1 ORDER BY draft_id LIMIT 1"

# The place in the draw is a hash of digest, seed and draft, so it depends neither on the order of the rows nor on what
# else is there: a draft keeps its place when others come. MD5 mixes well and is the same everywhere; nothing is secret.
# arg_min keeps the first places of each stratum in a heap, on millions of labels far quicker than sorting them.
_DRAWN = f"""
    WITH placed AS (SELECT row_index, stratum, md5($salt || draft_id) AS place FROM ({_KEYED})),
    first AS (
        SELECT stratum, arg_min({{'row_index': row_index, 'place': place}}, place, $most) AS rows
        FROM placed GROUP BY stratum
    ),
    drawn AS (
        SELECT stratum, drawn / size AS inclusion_probability, unnest(rows[:drawn]) AS drawn_row
        FROM first JOIN allocation USING (stratum)
    )
    SELECT drawn_row.row_index, stratum, inclusion_probability FROM drawn ORDER BY drawn_row.place
"""


@dataclass(frozen=True)
class Stratum:
    """One stratum: its name, the class it belongs to, and how many labels it holds."""

    name: str
    label: str
    size: int


def draw_sample(labels: pa.Table, *, policy_digest: str, seed: int, per_class: int = 200, floor: int = 5) -> pa.Table:
    """Draw the labels that people should check.

    Args:
        labels: at least ``draft_id`` (unique, not null), ``label``, ``tier``, ``rule`` and ``category``, as text.
            Rows that abstain are not drawn.
        policy_digest: the digest of the policy that gave the labels.
        seed: which of the possible samples; the same seed and digest draw the same rows, in whatever order they come.
        per_class: at least so many of each of desirable and undesirable, or all there are.
        floor: at least so many of each stratum, or all there are.

    Returns:
        The drawn rows with all their columns, and two more: ``stratum`` (``label|tier|rule|category``) and
        ``inclusion_probability`` (rows drawn ÷ rows in the stratum, in (0, 1]). They come in random order, so that
        whoever reads the first half has read a sample too.

    Raises:
        PolicyError: a column is missing, a ``draft_id`` is null or stands twice, or a number is below 1.

    """
    for name, value in (("per_class", per_class), ("floor", floor)):
        if value < 1:
            # A stratum without a floor could have probability 0, and nothing could be said about its labels.
            raise PolicyError(f"{name} is {value}, but a sample needs at least 1; raise it")
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("keys", _keys(labels))
        _check_unique(connection)
        strata = [Stratum(*row) for row in connection.execute(_SIZES).fetchall()]
        drawn = allocate(strata, per_class=per_class, floor=floor)
        allocation = {
            "stratum": pa.array([stratum.name for stratum in strata], pa.string()),
            "drawn": pa.array([drawn[stratum.name] for stratum in strata], pa.int64()),
            "size": pa.array([stratum.size for stratum in strata], pa.int64()),
        }
        connection.register("allocation", pa.table(allocation))
        settings = {"salt": f"{policy_digest}|{seed}|", "most": max(drawn.values(), default=1)}
        result = connection.sql(_DRAWN, params=settings).to_arrow_table()
    sample = labels.take(result["row_index"])
    for name in ("stratum", "inclusion_probability"):
        sample = sample.append_column(name, result[name])
    return sample


def allocate(strata: list[Stratum], *, per_class: int, floor: int) -> dict[str, int]:
    """Return how many rows to draw of each stratum.

    Each gets the floor, or all it has; what a class still lacks to `per_class` is shared out in proportion to what its
    strata have left, by largest remainder (ties go to the stratum first in the alphabet).
    """
    drawn: dict[str, int] = {}
    for label in sorted({stratum.label for stratum in strata}):
        members = sorted((stratum for stratum in strata if stratum.label == label), key=lambda stratum: stratum.name)
        base = {stratum.name: min(stratum.size, floor) for stratum in members}
        left = {stratum.name: stratum.size - base[stratum.name] for stratum in members}
        total = sum(left.values())
        missing = min(max(per_class - sum(base.values()), 0), total)
        # Whole numbers throughout: a share is at most what its stratum has left, and the shares add up exactly.
        share = {name: divmod(missing * count, total) if total else (0, 0) for name, count in left.items()}
        extra = missing - sum(whole for whole, _ in share.values())
        by_remainder = sorted(share, key=lambda name: (-share[name][1], name))
        topped = set(by_remainder[:extra])
        drawn |= {name: base[name] + share[name][0] + (name in topped) for name in base}
    return drawn


def _keys(labels: pa.Table) -> pa.Table:
    missing = [name for name in _KEYS if name not in labels.column_names]
    if missing:
        raise PolicyError(f"the labels have no column {', '.join(missing)}; pass the labels table as it was written")
    if labels["draft_id"].null_count:
        raise PolicyError("a label has no draft_id, so it cannot be drawn or read; leave such rows out")
    columns = {name: labels[name].cast(pa.string()) for name in _KEYS}
    return pa.table({"row_index": pa.array(np.arange(labels.num_rows, dtype=np.int64)), **columns})


def _check_unique(connection: duckdb.DuckDBPyConnection) -> None:
    if connection.execute(_ALL_DISTINCT).fetchone() == (True,):
        return
    row = connection.execute(_REPEATED).fetchone()
    if row is not None:
        raise PolicyError(f"draft_id '{row[0]}' stands in several labels; pass one label a draft")
