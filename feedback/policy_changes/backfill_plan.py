"""The backfill plan: which labels a policy would change, of the stored ones or of another policy's; nothing is written.

Both sides label the same stored interactions at the same versions of the lake's tables. A plan's id holds those
versions and a hash of every changed row, so that the application of the plan can be checked against it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from feedback.audits.overrides import override_now
from feedback.audits.planned_gate import Auditing, Gates, decide_planned, decide_stored
from feedback.exceptions import FeedbackError
from feedback.labels.labels import view_labels
from feedback.labels.ledger import kept_policy, view_day_policies
from feedback.lake.delta import Lake, Table
from feedback.lake.event_schema import SENT_SUFFIX
from feedback.lake.parquet_scan import spilling, view_stored
from feedback.lake.tables import INTERACTIONS, LABELS, LEDGER
from feedback.policy_changes.example_rows import find_rule, read_examples
from feedback.training_set.class_balance import lambda_bounds
from label_policy import CLASSES, SENT_TEXT, Policy, PolicyError
from label_policy.audits.audit_gate import Override
from label_policy.checks.label_diff import Comparison

EXAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class PolicyName:
    """The identity of a policy: its name and version for people, and its digest."""

    name: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.digest[:12]})"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The effect of a policy change on the labels.

    Attributes:
        id: names the change: the tables' versions, and a hash of every changed row and of the new policy.
        as_of: the moment that decides which labels are final.
        versions: by table, the Delta version that was read; with `labels` if the stored ones are the old side.
        before: the policies that gave the old side's labels, the newest day's first.
        after: the new policy.
        figures: all counts: see `label_policy.checks.label_diff.Comparison.figures`, and `balance`: before and after,
            the rows that would train as `desirable` and `undesirable`, and the `lambda_bounds` that follow.
        gates: the audit's gate for both sides; None where the plan was made without it. Tiers that it excludes do not
            train in any of the figures. Verdicts can change the gates and not the `id`.
        ending: the valid override of the old side's newest policy, which ends with the change.
        late: changed rows whose stored label was built from other events than the current ones: feedback changes them,
            whatever the policy.
        examples: changed rows: see `feedback.policy_changes.example_rows.read_examples`.

    """

    id: str
    as_of: datetime
    versions: dict[str, int]
    before: list[PolicyName]
    after: PolicyName
    figures: dict[str, Any]
    gates: Gates | None
    ending: Override | None
    late: int
    examples: list[dict[str, Any]]

    @property
    def stored(self) -> bool:
        """Whether the old side is the stored labels, so that the plan can be applied."""
        return LABELS.name in self.versions

    @property
    def days(self) -> list[date]:
        """The days that change, in order."""
        return [row["day"] for row in self.figures["days"] if row["changed"]]

    @property
    def changed(self) -> int:
        """How many rows change."""
        return int(self.figures["changed"])

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as one object of plain values; the caller's JSON encoder handles times and dates."""
        plain = asdict(self)
        figures = plain.pop("figures")
        if self.gates is not None:
            plain["gates"] = self.gates.as_dict()
        return {**plain, "stored": self.stored, **figures}


def plan_change(
    lake: Lake,
    after: Policy,
    *,
    before: Policy | None = None,
    as_of: datetime,
    rows: Path | None = None,
    auditing: Auditing | None = None,
) -> Plan:
    """Label the stored interactions by `after`, compare them with the old side, and count the differences.

    Args:
        lake: holds the interactions; nothing is written to it.
        after: the new policy.
        before: the old policy; by default the old side is the stored labels, whatever policies gave them.
        as_of: aware datetime: the moment that decides which labels are final.
        rows: path of a Parquet file to write every changed row to: its day, id, category, kind of change, and rule,
            label, tier, weight and ``matures_at`` before and after.
        auditing: the desk's audit settings; None: the audit's gates are not decided.

    Raises:
        FeedbackError: there is nothing to compare yet.

    """
    with comparing(lake, after, before=before, as_of=as_of) as (connection, comparison, versions):
        old = [policy_name(before)] if before else _deployed(connection)
        policies = _kept_policies(lake, old) | {policy.digest: policy for policy in (before, after) if policy}
        newest = policies.get(old[0].digest) if old else None
        gates = _decide(connection, lake, newest, after, auditing, stored=before is None) if auditing else None
        figures = comparison.figures(
            before={digest: policy.training for digest, policy in policies.items()},
            after=after.training,
            excluded_before=gates.before.excluded if gates and gates.before else (),
            excluded_after=gates.after.excluded if gates else (),
        )
        figures["balance"] = _balance(figures["training"])
        for row in figures["rules"]:
            row["why"] = _why(row["rule"], [after, *(policies[name.digest] for name in old if name.digest in policies)])
        if rows is not None:
            # DuckDB writes them without a table in memory: there may be millions.
            connection.sql("FROM changes ORDER BY shown_date, draft_id").write_parquet(str(rows), compression="zstd")
        drawn = comparison.examples(EXAMPLES)
        return Plan(
            id=plan_id(versions, after, comparison),
            as_of=as_of,
            versions=versions,
            before=old,
            after=policy_name(after),
            figures=figures,
            gates=gates,
            ending=override_now(lake, newest) if newest and not before and newest.digest != after.digest else None,
            late=0 if before else _count_late(connection),
            examples=read_examples(connection, drawn, policies=policies, before=before, after=after),
        )


@contextmanager
def comparing(
    lake: Lake,
    after: Policy,
    *,
    before: Policy | None = None,
    as_of: datetime,
    versions: Mapping[str, int] | None = None,
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Comparison, dict[str, int]]]:
    """Yield the connection and the comparison behind a plan, and the versions of the tables that it reads.

    Arguments as for `plan_change`, and the `versions` to read; by default the current ones.
    """
    read = (INTERACTIONS,) if before else (INTERACTIONS, LABELS)
    pinned = dict(versions) if versions else _versions(lake, read)
    with spilling(lake) as connection:
        # Exactly the versions that the plan names, whatever other runs write in the meantime.
        for table in (INTERACTIONS, LABELS):
            view_stored(connection, lake, table, version=pinned.get(table.name))
        view_stored(connection, lake, LEDGER)
        view_day_policies(connection)
        connection.execute(_STORED_LABELS)
        days = [day for (day,) in connection.execute("SELECT DISTINCT shown_date FROM interactions").fetchall()]
        view_labels(connection, after, name="after", days=days, as_of=as_of)
        if before is not None:
            view_labels(connection, before, name="before", days=days, as_of=as_of)
        comparison = Comparison(connection, before="before" if before else "stored_labels", after="after")
        yield connection, comparison, pinned


# The policy is the one that rules the day, whose training section applies, and not the one that wrote the rows.
_STORED_LABELS = """
CREATE OR REPLACE TEMP VIEW stored_labels AS
SELECT labels.* REPLACE (
    ruling.policy AS policy, ruling.policy_version AS policy_version, ruling.policy_digest AS policy_digest
)
FROM labels JOIN day_policies AS ruling USING (shown_date)
"""


def _decide(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    old: Policy | None,
    new: Policy,
    auditing: Auditing,
    *,
    stored: bool,
) -> Gates:
    """Decide the gate of both sides; `old` is the old side's policy, if it is still readable."""
    if not stored:
        assert old is not None
        before = decide_planned(connection, lake, old, auditing, labels="before")
        return Gates(before=before, after=decide_planned(connection, lake, new, auditing, labels="after"))
    columns = ", ".join(LABELS.schema.names)
    connection.execute(_AS_APPLIED.format(columns=columns))
    return Gates(
        before=decide_stored(lake, old, auditing) if old else None,
        after=decide_planned(connection, lake, new, auditing, labels="as_applied"),
    )


# The labels after `feedback.policy_changes.apply`: the days that it labels again, and the others unchanged.
_AS_APPLIED = """
CREATE OR REPLACE TEMP TABLE labelled_again AS
SELECT shown_date FROM changes UNION SELECT shown_date FROM day_policies WHERE NOT recorded;
CREATE OR REPLACE TEMP VIEW as_applied AS
SELECT {columns} FROM after SEMI JOIN labelled_again USING (shown_date)
UNION ALL
SELECT {columns} FROM labels ANTI JOIN labelled_again USING (shown_date)
"""


def _versions(lake: Lake, tables: Sequence[Table]) -> dict[str, int]:
    versions = {table.name: lake.version(table) for table in tables}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise FeedbackError(f"{lake.root} holds no {' and no '.join(missing)} yet; `feedback-kto run` builds them")
    return {name: version for name, version in versions.items() if version is not None}


def policy_name(policy: Policy) -> PolicyName:
    """Return the policy's identity for a plan."""
    return PolicyName(name=policy.name, version=policy.version, digest=policy.digest)


def plan_id(versions: Mapping[str, int], after: Policy, comparison: Comparison) -> str:
    """Return the id of a change: from the versions of its tables, the new policy, and every changed row."""
    digest = hashlib.sha256(f"{after.digest} {comparison.fingerprint()}".encode()).hexdigest()
    return "-".join([*(f"{name[0]}{version}" for name, version in versions.items()), digest[:16]])


def _deployed(connection: duckdb.DuckDBPyConnection) -> list[PolicyName]:
    rows = connection.execute(
        "SELECT policy, policy_version, policy_digest FROM stored_labels"
        " GROUP BY ALL ORDER BY max(shown_date) DESC, count(*) DESC, policy_digest"
    ).fetchall()
    return [PolicyName(name=name, version=version, digest=digest) for name, version, digest in rows]


def _balance(training: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    balance = {}
    for side in ("before", "after"):
        counts = {str(name): sum(row["rows"] for row in training if row[side] == name) for name in CLASSES}
        balance[side] = {**counts, "lambda_bounds": lambda_bounds(**counts)}
    return balance


def _why(rule: str, policies: Iterable[Policy]) -> str | None:
    """Return the rule's `why` in the first policy that has the rule."""
    rules = (find_rule(policy, rule) for policy in policies)
    return next((candidate.why for candidate in rules if candidate is not None), None)


def _count_late(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many of the changed rows feedback would change without the policy.

    Only days whose interactions are newer than their labels can hold such rows, and such days are rare.
    """
    [(count,)] = connection.execute(
        """
        WITH newer AS (
            SELECT shown_date FROM (SELECT shown_date, max(as_of) AS built FROM interactions GROUP BY shown_date)
            LEFT JOIN (SELECT shown_date, min(as_of) AS labelled FROM labels GROUP BY shown_date) USING (shown_date)
            WHERE coalesce(built > labelled, true)
        ),
        new AS (SELECT shown_date, draft_id, evidence FROM interactions SEMI JOIN newer USING (shown_date)),
        old AS (SELECT shown_date, draft_id, evidence FROM labels SEMI JOIN newer USING (shown_date)),
        changed AS (
            SELECT shown_date,
                CASE WHEN $sent_text IN (before_rule, after_rule) THEN left(draft_id, -len($suffix)) ELSE draft_id END
                    AS draft_id
            FROM changes SEMI JOIN newer USING (shown_date)
            -- The policy alone decides whether an agent's own text is a label.
            WHERE before_rule IS NOT NULL OR after_rule <> $sent_text
        )
        SELECT count(*) FROM changed
        LEFT JOIN new USING (shown_date, draft_id)
        LEFT JOIN old USING (shown_date, draft_id)
        WHERE new.evidence IS DISTINCT FROM old.evidence
        """,
        {"sent_text": SENT_TEXT, "suffix": SENT_SUFFIX},
    ).fetchall()
    return int(count)


def _kept_policies(lake: Lake, names: Sequence[PolicyName]) -> dict[str, Policy]:
    """Return the policies by digest, without those whose text the lake does not hold or this release cannot read."""
    policies = {}
    for name in names:
        # It labelled before the lake kept policies, or this release no longer reads its text.
        with suppress(FeedbackError, PolicyError):
            policies[name.digest] = kept_policy(lake, name.digest)
    return policies
