"""The audit sample: the final labels that people must read, and the rows that they have not read yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import duckdb
import pyarrow as pa

from feedback.audits.verdicts import Origin, current_verdicts, current_verdicts_on
from feedback.labels.labels import label_order
from feedback.labels.ledger import view_day_policies
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.sql_literals import literals
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, LEDGER
from label_policy import CLASSES, Policy, draw_sample


def write_audit_sample(lake: Lake, policy: Policy, *, seed: int, suspects: Iterable[tuple[str, str]] = ()) -> pa.Table:
    """Draw the final labels that the policy's audit asks for and replace `audit_sample` by them.

    Rows that are already read count, so a draw asks only for the missing ones. A suspect stays in the sample while its
    label does not change: a read one always, an unread one until a call passes new suspects.

    Args:
        lake: holds the labels and the verdicts on them.
        policy: sets how many rows are drawn, and from which strata.
        seed: which of the possible samples.
        suspects: drafts and those of their labels that a model's scores contradict, the most doubtful first; the
            policy's `audit.suspects` sets how many of each class are read.

    Returns:
        The sample, in the order in which it should be read.

    Raises:
        PolicyError: a draft has several labels.

    """
    with lake.sql(LEDGER) as connection:
        view_stored(connection, lake, LABELS)
        connection.execute("CREATE TEMP VIEW final AS SELECT * FROM labels WHERE state = 'final'")
        current = current_verdicts_on(connection, lake, labels=LABELS.name)
        drawn = draw(connection, lake, policy, labels="final", current=current, seed=seed, suspects=suspects)
        connection.register("drawn", drawn.append_column("place", pa.array(range(drawn.num_rows), pa.int64())))
        # Texts are read only here, and only those of the drawn rows.
        connection.register("drawn_labels", connection.sql(_DRAWN_LABELS).to_arrow_table())
        view_day_policies(connection, labels="drawn_labels")
        rows = connection.sql(_ROWS, params={"seed": seed}).to_arrow_table()
    rows = rows.select(AUDIT_SAMPLE.schema.names).cast(AUDIT_SAMPLE.schema)
    lake.replace(AUDIT_SAMPLE, rows)
    return rows


def draw(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    policy: Policy,
    *,
    labels: str,
    current: pa.Table,
    seed: int,
    suspects: Iterable[tuple[str, str]] = (),
) -> pa.Table:
    """Draw the rows that the policy's audit asks people to read from some labels, without writing anything.

    Args:
        connection: sees the labels, which need not be the lake's.
        lake: holds the last drawn sample.
        policy: as for `write_audit_sample`, like `seed` and `suspects`.
        labels: the relation of the final labels, with their strata as columns.
        current: the current verdicts on these labels.
        seed: see there.
        suspects: see there.

    Returns:
        What `label_policy.draw_sample` returns.

    """
    doubted = list(suspects)
    connection.register(
        "doubted",
        pa.table(
            {
                "draft_id": pa.array([draft_id for draft_id, _ in doubted], pa.string()),
                "label": pa.array([label for _, label in doubted], pa.string()),
                "place": pa.array(range(len(doubted)), pa.int64()),
            }
        ),
    )
    connection.register("was_read", current.select(["draft_id"]))
    view_stored(connection, lake, AUDIT_SAMPLE, name="drawn_before")
    rows = connection.execute(_SUSPECTED.format(labels=labels), {"most": policy.audit.suspects}).fetchall()
    suspected = [draft_id for (draft_id,) in rows]
    return draw_sample(connection, labels=labels, seed=seed, audit=policy.audit, read=current, suspected=suspected)


def unread(lake: Lake, *, simulated: bool = False) -> pa.Table:
    """Return the rows of the sample that still lack readers, in the order in which they should be read.

    Args:
        lake: holds the sample and the verdicts.
        simulated: whether a simulated verdict counts as read.

    Returns:
        The columns of `AUDIT_SAMPLE` and two more: ``read_by`` (the reviewers with a current verdict) and
        ``missing`` (how many more people must read it, at least 1).

    """
    verdicts = current_verdicts(lake)
    readers = defaultdict(list)
    for draft_id, reviewer, origin in zip(
        *(verdicts[name].to_pylist() for name in ("draft_id", "reviewer", "origin")), strict=True
    ):
        if simulated or origin != Origin.SIMULATED:
            readers[draft_id].append(reviewer)
    # The table is in the order in which people read it; DuckDB would not keep that order.
    sample = lake.dataset(AUDIT_SAMPLE).to_table()
    read_by = [readers[draft_id] for draft_id in sample["draft_id"].to_pylist()]
    # A sample drawn by an earlier release does not say how many people must read a row.
    wanted = [count or 1 for count in sample["readers"].to_pylist()]
    missing = [max(count - len(names), 0) for count, names in zip(wanted, read_by, strict=True)]
    sample = sample.append_column("read_by", pa.array(read_by, pa.list_(pa.string())))
    sample = sample.append_column("missing", pa.array(missing, pa.int32()))
    return sample.filter(pa.array([count > 0 for count in missing], pa.bool_()))


@dataclass(frozen=True, kw_only=True)
class Part:
    """The progress of the audit in one part of the sample.

    Args:
        values: the part's values of the columns that divide the sample.
        size: how many labels the strata of these rows hold.
        rows: drawn rows.
        read: drawn rows that a person has read.
        simulated: rows that no person has read and that have a simulated verdict.
        missing: verdicts that people must still give; more than rows where two people must read one.

    """

    values: tuple[str | bool | None, ...]
    size: int
    rows: int
    read: int
    simulated: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of the audit: the parts of the sample, and how long people take over a row.

    `seconds` is each reviewer's median; reviewers without times are left out.
    """

    parts: tuple[Part, ...]
    seconds: Mapping[str, float]

    @property
    def missing(self) -> int:
        """Verdicts that people must still give."""
        return sum(part.missing for part in self.parts)

    @property
    def seconds_left(self) -> float | None:
        """Seconds that one person needs for the missing verdicts, at the reviewers' median; None without any times."""
        return self.missing * median(self.seconds.values()) if self.seconds else None

    def as_dict(self, *columns: str) -> dict[str, Any]:
        """Return JSON values; `columns` are those that were passed to `audit_progress`."""
        counts = ("size", "rows", "read", "simulated", "missing")
        return {
            "parts": [
                {**dict(zip(columns, part.values, strict=True)), **{name: getattr(part, name) for name in counts}}
                for part in self.parts
            ],
            "missing": self.missing,
            "seconds": dict(self.seconds),
            "seconds_left": self.seconds_left,
        }


def audit_progress(lake: Lake, *columns: str) -> Progress:
    """Return the progress of the audit by the values of `columns`, in their order."""
    verdicts = current_verdicts(lake).select(["draft_id", "reviewer", "origin", "seconds"]).to_pylist()
    simulated = {row["draft_id"] for row in verdicts if row["origin"] == Origin.SIMULATED}
    lacking = unread(lake)
    missing = dict(zip(*(lacking[name].to_pylist() for name in ("draft_id", "missing")), strict=True))
    by_people = {row["draft_id"] for row in verdicts} - simulated
    parts: dict[tuple[str | bool | None, ...], list[dict[str, Any]]] = defaultdict(list)
    wanted = [*columns, "draft_id", "stratum", "stratum_size"]
    for row in lake.dataset(AUDIT_SAMPLE).to_table(columns=[*dict.fromkeys(wanted)]).to_pylist():
        parts[tuple(row[name] for name in columns)].append(row)
    seconds = defaultdict(list)
    for row in verdicts:
        if row["seconds"] is not None and row["origin"] != Origin.SIMULATED:
            seconds[row["reviewer"]].append(row["seconds"])
    return Progress(
        parts=tuple(
            Part(
                values=values,
                size=sum({row["stratum"]: row["stratum_size"] or 0 for row in rows}.values()),
                rows=len(rows),
                read=sum(row["draft_id"] in by_people for row in rows),
                simulated=sum(row["draft_id"] in simulated for row in rows),
                missing=sum(missing.get(row["draft_id"], 0) for row in rows),
            )
            for values, rows in sorted(parts.items(), key=lambda part: label_order(columns, part[0]))
        ),
        seconds={reviewer: median(taken) for reviewer, taken in sorted(seconds.items())},
    )


# Read suspects of the last draw stay; new suspects replace unread ones.
_SUSPECTED = f"""
WITH suspects AS (
    SELECT draft_id, label, draft_id IN (SELECT draft_id FROM was_read) AS was_read FROM drawn_before WHERE suspected
),
wanted AS (
    SELECT draft_id, label, was_read, 0 AS place FROM suspects
    WHERE was_read OR (SELECT count(*) FROM doubted) = 0
    UNION ALL
    SELECT draft_id, label, false, min(place) FROM doubted
    WHERE draft_id NOT IN (SELECT draft_id FROM suspects WHERE was_read) GROUP BY ALL
),
unchanged AS (
    SELECT wanted.* FROM wanted JOIN {{labels}} USING (draft_id, label) WHERE label IN ({literals(CLASSES)})
)
SELECT draft_id FROM unchanged
QUALIFY was_read OR row_number() OVER (PARTITION BY label, was_read ORDER BY place, draft_id) <= $most
"""
_DRAWN_LABELS = "SELECT labels.* FROM labels JOIN drawn USING (draft_id)"
# The policy is the one that rules the labels' day, which need not be the one that last wrote them.
_ROWS = """
SELECT drawn_labels.* REPLACE (
        ruling.policy AS policy, ruling.policy_version AS policy_version, ruling.policy_digest AS policy_digest
    ), stratum, stratum_size, inclusion_probability, suspected, readers, $seed AS seed
FROM drawn_labels JOIN drawn USING (draft_id) JOIN day_policies AS ruling USING (shown_date) ORDER BY place
"""
