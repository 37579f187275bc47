"""The ledger: the inputs of each day's interactions and labels, for the last build and all earlier ones.

A stage commits a day's rows first and appends the entry after. A run that is killed in between leaves rows without an
entry. Such days are behind every policy, until their next build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal, cast

import duckdb
import pyarrow as pa

from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake
from feedback.lake.journals import append
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import LABELS, LEDGER, POLICIES
from label_policy import Policy, dump_policy, parse_policy

Stage = Literal["interactions", "labels"]
How = Literal["built", "confirmed"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The inputs of a day of a stage; the fields are the columns of `LEDGER`.

    A `built` entry is of rows that were written as of `as_of`. A `confirmed` entry leaves the rows unchanged, as of the
    moment when they were built: a new policy gives the same labels.
    """

    stage: Stage
    shown_date: date
    how: How
    input_version: int | None
    output_version: int | None
    policy: str | None
    policy_version: int | None
    policy_digest: str | None
    as_of: datetime
    recorded_at: datetime
    run_id: str | None


def append_entries(
    lake: Lake,
    *,
    stage: Stage,
    days: Sequence[date],
    how: How = "built",
    input_version: int | None,
    output_version: int | None,
    policy: Policy | None,
    as_of: datetime,
    run_id: str | None,
) -> None:
    """Append an entry for each of `days`, in one commit, and keep the policy's text.

    Args:
        lake: holds the ledger.
        stage: whose rows were written.
        days: UTC dates on which the drafts were shown, also those without a draft.
        how: see `Entry`.
        input_version: Delta version of the table that the rows were built from: events, or interactions.
        output_version: Delta version of the stage's own table that holds the rows.
        policy: the policy that labelled the rows; None for interactions.
        as_of: aware datetime: the moment that the rows are as of.
        run_id: id of the run that wrote them, if a run did.

    """
    if policy is not None:
        keep_policy(lake, policy)
    entry = {
        "stage": stage,
        "how": how,
        "input_version": input_version,
        "output_version": output_version,
        "policy": policy and policy.name,
        "policy_version": policy and policy.version,
        "policy_digest": policy and policy.digest,
        "as_of": as_of,
        "recorded_at": datetime.now(UTC),
        "run_id": run_id,
    }
    append(lake, LEDGER, pa.Table.from_pylist([{**entry, "shown_date": day} for day in sorted(days)], LEDGER.schema))


def entries(lake: Lake, stage: Stage, *, until: datetime | None = None) -> list[Entry]:
    """Return each day's newest entry of a stage, in the order of days.

    Args:
        lake: holds the ledger.
        stage: whose entries are read.
        until: aware datetime; entries as of a later moment do not count. By default, all count.

    Returns:
        One entry a day: the one as of the latest moment and, of several, the last recorded one.

    """
    with lake.sql(LEDGER) as connection:
        rows = connection.sql(
            """
            SELECT * FROM ledger WHERE stage = $stage AND as_of <= coalesce($until, as_of)
            QUALIFY row_number() OVER (PARTITION BY shown_date ORDER BY as_of DESC, recorded_at DESC) = 1
            ORDER BY shown_date
            """,
            params={"stage": stage, "until": until},
        ).to_arrow_table()
    return [Entry(**row) for row in rows.to_pylist()]


def view_day_policies(connection: duckdb.DuckDBPyConnection, *, labels: str = "labels") -> None:
    """Create the view `day_policies`: the policy that rules the labels of each day.

    That need not be the policy on the rows: a later entry can confirm that a newer policy gives the same labels. The
    columns are ``shown_date, policy, policy_version, policy_digest`` and ``recorded``: whether the rows have the policy
    and the moment of the ledger's newest `built` entry.

    Args:
        connection: sees `LEDGER`, as from `Lake.sql`, and the labels.
        labels: the relation of the labels.

    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW day_policies AS
        WITH stored AS (
            SELECT shown_date, any_value(policy) AS policy, any_value(policy_version) AS policy_version,
                any_value(policy_digest) AS policy_digest, any_value(as_of) AS as_of
            FROM {labels} GROUP BY shown_date
        ),
        entered AS (
            SELECT shown_date,
                max_by(struct_pack(policy, policy_version, policy_digest), recorded_at) AS newest,
                max_by(struct_pack(policy_digest, as_of), recorded_at) FILTER (how = 'built') AS built
            FROM ledger WHERE stage = 'labels' GROUP BY shown_date
        )
        SELECT shown_date,
            coalesce(stored.policy_digest = built.policy_digest AND stored.as_of = built.as_of, false) AS recorded,
            unnest(CASE
                WHEN recorded THEN newest
                ELSE struct_pack(stored.policy, stored.policy_version, stored.policy_digest)
            END)
        FROM stored LEFT JOIN entered USING (shown_date)
        """
    )


def days_behind(lake: Lake, policy: Policy) -> tuple[list[date], int]:
    """Return the days whose labels may differ from those that `policy` gives, and how many days have labels.

    A day is up to date if the policy rules its labels and they are recorded (see `view_day_policies`). Policies are
    compared by digest: names, versions and descriptions do not count.
    """
    days = _day_policies(lake)
    return [day for day, digest, recorded in days if not recorded or digest != policy.digest], len(days)


def unrecorded_days(lake: Lake) -> list[date]:
    """Return the days whose labels have no entry in the ledger."""
    return [day for day, _, recorded in _day_policies(lake) if not recorded]


def _day_policies(lake: Lake) -> list[tuple[date, str, bool]]:
    with lake.sql(LEDGER) as connection:
        view_stored(connection, lake, LABELS)
        view_day_policies(connection)
        return connection.execute("SELECT shown_date, policy_digest, recorded FROM day_policies ORDER BY 1").fetchall()


def newest_moment(lake: Lake, stages: Sequence[Stage], days: Sequence[date]) -> datetime | None:
    """Return the latest `as_of` of `days` in the ledger for any of `stages`, or None where none is recorded."""
    with lake.sql(LEDGER) as connection:
        newest = connection.sql(
            "SELECT max(as_of) AS as_of FROM ledger"
            " WHERE stage IN (SELECT unnest($stages)) AND shown_date IN (SELECT unnest($days))",
            params={"stages": list(stages), "days": list(days)},
        ).to_arrow_table()
    return cast("datetime | None", newest.column("as_of")[0].as_py())


def refuse_older(lake: Lake, stages: Sequence[Stage], days: Sequence[date], as_of: datetime) -> None:
    """Refuse to replace rows as of a newer moment by rows as of an older one.

    Raises:
        FeedbackError: some of `days` are recorded as of a moment after `as_of` in one of `stages`.

    """
    newest = newest_moment(lake, stages, days)
    if newest is not None and newest > as_of:
        raise FeedbackError(
            f"the {' or '.join(stages)} are as of {newest:%Y-%m-%d %H:%M:%S} UTC, later than the requested moment, "
            f"{as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S}; `feedback-kto rebuild --as-of` builds that beside them"
        )


def keep_policy(lake: Lake, policy: Policy) -> None:
    """Store the policy's text, unless a policy with the same digest is stored already."""
    if policy.digest in _texts(lake):
        return
    row = {
        "policy_digest": policy.digest,
        "policy": policy.name,
        "policy_version": policy.version,
        "text": dump_policy(policy),
        "recorded_at": datetime.now(UTC),
    }
    append(lake, POLICIES, pa.Table.from_pylist([row], schema=POLICIES.schema))


def kept_policy(lake: Lake, digest_prefix: str) -> Policy:
    """Return the stored policy whose digest starts with `digest_prefix`.

    Raises:
        FeedbackError: no such policy ever labelled here, or several did.
        PolicyError: this release no longer reads its text.

    """
    texts = {digest: text for digest, text in _texts(lake).items() if digest.startswith(digest_prefix)}
    if len(texts) != 1:
        which = "several policies" if texts else "no policy"
        digests = ", ".join(digest[:12] for digest in sorted(texts or _texts(lake))) or "none"
        raise FeedbackError(
            f"a digest that starts with '{digest_prefix}' belongs to {which} that labelled {lake.root}; "
            f"give one of: {digests}"
        )
    [(digest, text)] = texts.items()
    return parse_policy(text, where=f"policy {digest[:12]} in {lake.path(POLICIES)}")


def _texts(lake: Lake) -> dict[str, str]:
    """Return the texts of all policies that ever labelled, by digest."""
    with lake.sql(POLICIES) as connection:
        return dict(
            connection.execute(
                "SELECT policy_digest, min_by(text, recorded_at) FROM policies GROUP BY policy_digest"
            ).fetchall()
        )
