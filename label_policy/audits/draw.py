"""Draw the labels that people check: a stratified random sample with known probabilities and permanent random numbers.

A draft's place is a hash of the seed and the draft alone, and a stratum's sample is its first places (Ohlsson, 1995).
So samples of later days, other policies and other sizes overlap as far as possible: rows read for one count for the
next, and each sample is still a simple random sample of its strata. Each row has its inclusion probability, the weight
of estimates (Horvitz and Thompson, 1952).
"""

import math
from collections.abc import Collection

import duckdb
import pyarrow as pa

from label_policy.audits.allocation import Stratum, allocate
from label_policy.audits.precision import rows_to_show
from label_policy.exceptions import PolicyError
from label_policy.policy.fields import CLASSES, Label
from label_policy.policy.sections import Audit

SUSPECTED = "suspected"
"""Prefix of the names of strata that hold suspected labels and are read completely."""

# MD5 mixes well and is the same in every release; nothing is secret. As a number it is computed three times as fast.
_PLACE = "md5_number($seed || '|' || draft_id)"
_CHANCE = "CAST(md5_number($seed || '|{of}|' || draft_id) AS DOUBLE) / pow(2, 128)"

_KEYED = "SELECT draft_id, {columns}, {suspected} AS suspected FROM {labels} WHERE label IN ({classes})"
# Readers of a draft may disagree; a draft counts as the share of its readers whose verdict agrees with the label.
_STRATA = """
CREATE OR REPLACE TEMP TABLE audit_strata AS
WITH opinions AS (
    SELECT draft_id, true AS read,
        avg(CASE WHEN verdict IN ({classes}) THEN CAST(verdict = '{good}' AS INTEGER) END) AS desirable
    FROM audit_read GROUP BY draft_id
),
counted AS (
    SELECT {names}, suspected, count(*) AS size, count(read) AS read, count(desirable) AS judged,
        coalesce(sum(CASE label WHEN '{good}' THEN desirable ELSE 1 - desirable END), 0) AS agreed
    FROM ({keyed}) LEFT JOIN opinions USING (draft_id) GROUP BY ALL
)
SELECT row_number() OVER (ORDER BY suspected, {names}) AS id, *, sum(size) OVER (PARTITION BY tier) AS of_tier,
    concat_ws('|', CASE WHEN suspected THEN '{prefix}' END, {escaped}) AS stratum
FROM counted
"""
# arg_min keeps the first places of each stratum in a heap, on millions of labels much faster than sorting.
_FIRST = f"""
CREATE OR REPLACE TEMP TABLE audit_first AS
WITH first AS (
    SELECT {{names}}, suspected, arg_min(draft_id, {_PLACE}, $most) AS drafts FROM ({{keyed}}) GROUP BY ALL
)
SELECT id, unnest(drafts) AS draft_id, unnest(range(1, len(drafts) + 1)) AS rank
FROM first JOIN audit_strata USING ({{names}}, suspected)
"""
_REPEATED = "SELECT draft_id FROM audit_first GROUP BY draft_id HAVING count(*) > 1 ORDER BY draft_id LIMIT 1"
_KNOWN = """
SELECT id, any_value(stratum), any_value(label), any_value(suspected), any_value(size), any_value(judged),
    any_value(agreed), any_value(tier), any_value(size) / any_value(of_tier),
    coalesce(list(rank ORDER BY rank) FILTER (draft_id IN (SELECT draft_id FROM audit_read)), [])
FROM audit_strata JOIN audit_first USING (id) GROUP BY id ORDER BY id
"""
# In random order, spread evenly over strata: the first half of the rows is a sample of each stratum.
_DRAWN = f"""
SELECT draft_id, stratum, size AS stratum_size, drawn / size AS inclusion_probability, suspected,
    CAST(CASE WHEN {_CHANCE.format(of="overlap")} < $overlap THEN 2 ELSE 1 END AS INTEGER) AS readers
FROM audit_first JOIN audit_strata USING (id) JOIN audit_allocation USING (id)
WHERE rank <= drawn ORDER BY (rank - {_CHANCE.format(of="order")}) / drawn, draft_id
"""


def draw_sample(
    connection: duckdb.DuckDBPyConnection,
    *,
    labels: str = "labels",
    seed: int,
    audit: Audit,
    read: pa.Table | None = None,
    suspected: Collection[str] = (),
) -> pa.Table:
    """Draw the labels that people should check.

    Reads only the strata's columns; holds only counts and the first drafts of each stratum in memory.

    Args:
        connection: sees the labels; temporary tables are created in it.
        labels: the name of a relation with ``draft_id`` (unique) and the audit's strata as columns. Rows that abstain
            are not drawn.
        seed: selects the sample; the same seed gives the same rows, in any order of the labels.
        audit: number of rows, strata, and share of rows for two readers. A tier with a bound of precision gets enough
            rows to show it, in proportion to its strata.
        read: ``draft_id`` and ``verdict``, one row for each verdict so far. Strata that need fewer rows get fewer, but
            never fewer than were read of their first places.
        suspected: drafts with doubtful labels; all of them are drawn.

    Returns:
        One row for each label drawn, in reading order: ``draft_id``, ``stratum`` (the values of its
        columns, separated by ``|``), ``stratum_size``, ``inclusion_probability`` (rows drawn ÷ rows in the stratum, in
        (0, 1]), ``suspected``, ``readers`` (1 or 2).

    Raises:
        PolicyError: a draft has several labels.

    """
    no_verdicts = pa.table({"draft_id": pa.array([], pa.string()), "verdict": pa.array([], pa.string())})
    connection.register("audit_read", no_verdicts if read is None else read.select(no_verdicts.column_names))
    connection.register("audit_suspected", pa.table({"draft_id": pa.array(sorted(suspected), pa.string())}))
    parts = _parts(labels, audit, any_suspected=bool(suspected))
    connection.execute(_STRATA.format(**parts))
    [(largest,)] = connection.execute("SELECT coalesce(max(of_tier), 0) FROM audit_strata").fetchall()
    # No stratum draws more than a class needs, or than was read of it; reading may continue past that.
    [(most,)] = connection.execute(
        "SELECT $most + coalesce(max(CASE WHEN suspected THEN size ELSE read END), 0) FROM audit_strata",
        {"most": max(audit.per_class, audit.floor, *_least(audit, largest).values())},
    ).fetchall()
    connection.execute(_FIRST.format(**parts), {"seed": str(seed), "most": most})
    if repeated := connection.execute(_REPEATED).fetchall():
        raise PolicyError(f"draft_id '{repeated[0][0]}' has several labels; pass one label per draft")
    connection.register("audit_allocation", _allocation(connection, audit, _least(audit, largest)))
    return connection.sql(_DRAWN, params={"seed": str(seed), "overlap": audit.overlap}).to_arrow_table()


def _parts(labels: str, audit: Audit, *, any_suspected: bool) -> dict[str, str]:
    """Return the parts of the queries: a missing category is a category of its own; stratum names are unambiguous."""
    columns = ", ".join(f"coalesce(CAST({name} AS TEXT), '') AS {name}" for name in audit.strata)
    classes = ", ".join(f"'{name}'" for name in CLASSES)
    suspected = "draft_id IN (SELECT draft_id FROM audit_suspected)" if any_suspected else "false"
    return {
        "names": ", ".join(audit.strata),
        "keyed": _KEYED.format(columns=columns, suspected=suspected, labels=labels, classes=classes),
        "classes": classes,
        "good": Label.DESIRABLE,
        "escaped": ", ".join(f"replace(replace({name}, '\\', '\\\\'), '|', '\\|')" for name in audit.strata),
        "prefix": SUSPECTED,
    }


def _least(audit: Audit, largest: int) -> dict[str, int]:
    """Return the rows that each tier with a bound needs to pass, at most `largest`."""
    return {
        tier: min(rows_to_show(bound, confidence=audit.confidence), int(largest))
        for tier, bound in audit.precision.items()
    }


def _allocation(connection: duckdb.DuckDBPyConnection, audit: Audit, least: dict[str, int]) -> pa.Table:
    """Return the number of rows to draw by stratum id."""
    ids: dict[str, int] = {}
    drawn: dict[str, int] = {}
    strata = []
    for number, name, label, suspected, size, judged, agreed, tier, part, ranks in connection.execute(
        _KNOWN
    ).fetchall():
        ids[name] = number
        if suspected:
            drawn[name] = size
        else:
            # Rounded, because a database does not fix the order of a sum.
            right = round(agreed, 6)
            strata.append(
                Stratum(
                    name=name,
                    label=label,
                    size=size,
                    judged=judged,
                    right=right,
                    read=frozenset(ranks),
                    least=math.ceil(part * least.get(tier, 0)),
                )
            )
    drawn |= allocate(strata, per_class=audit.per_class, floor=audit.floor)
    return pa.table(
        {"id": pa.array(ids.values(), pa.int64()), "drawn": pa.array([drawn[name] for name in ids], pa.int64())}
    )
