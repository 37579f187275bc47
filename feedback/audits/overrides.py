"""Overrides: who opened the audit's gate by hand, why, and until when. A journal; the newest that holds counts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from feedback.exceptions import FeedbackError
from feedback.lake.delta import Lake
from feedback.lake.journals import append
from feedback.lake.tables import OVERRIDES, POLICIES
from label_policy import Policy
from label_policy.audits.audit_gate import Override, bounds


def open_gate(
    lake: Lake, policy: Policy, *, who: str, why: str, tiers: Sequence[str] = (), days: int = 7
) -> Override:  # fmt: skip
    """Record that labels of this policy train although their audit does not let them.

    Args:
        lake: holds the journal.
        policy: its digest is what the override is bound to: a policy that says something else is not opened by it.
        who: opens it.
        why: for whoever reads the manifest or the model card.
        tiers: that train; none: all, however little was read.
        days: how long it holds, at least 1.

    Raises:
        FeedbackError: nobody or no reason is named, the policy asks for no audit, or not of such a tier.

    """
    who, why = " ".join(who.split()), " ".join(why.split())
    if not who or not why:
        raise FeedbackError("an override needs a name and a reason; give --who and --why")
    if days < 1:
        raise FeedbackError(f"an override cannot hold for {days} days; give 1 or more")
    asked = bounds(policy.audit, policy.training)
    if not asked:
        raise FeedbackError(f"{policy.name} {policy.version} asks for no audit, so there is no gate to open")
    if unknown := [tier for tier in tiers if tier not in asked]:
        raise FeedbackError(
            f"{policy.name} {policy.version} asks for no audit of tier {unknown[0]}; name one of {', '.join(asked)}"
        )
    now = datetime.now(UTC)
    made = Override(
        override_id=uuid.uuid4().hex[:12],
        who=who,
        why=why,
        expires_at=now + timedelta(days=days),
        tiers=tuple(tier for tier in asked if tier in tiers),
    )
    row = {
        "override_id": made.override_id,
        "policy_digest": policy.digest,
        "tiers": list(made.tiers),
        "who": made.who,
        "why": made.why,
        "expires_at": made.expires_at,
        "recorded_at": now,
    }
    append(lake, OVERRIDES, pa.Table.from_pylist([row], OVERRIDES.schema))
    return made


@dataclass(frozen=True, kw_only=True)
class FormerOverride:
    """An override that opens nothing any more.

    Attributes:
        override: what was recorded.
        why_not: it has `expired`, it is of `another policy`, or a newer one of the policy has `replaced` it.
        policy: which policy it is of: the digest, and name and version where it ever labelled.

    """

    override: Override
    why_not: Literal["expired", "another policy", "replaced"]
    policy: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**self.override.as_dict(), "why_not": self.why_not, "policy": self.policy}


def override_now(lake: Lake, policy: Policy, *, now: datetime | None = None) -> Override | None:
    """The newest override of this very policy that has not expired by `now` (an aware datetime), or None."""
    now = now or datetime.now(UTC)
    rows = (row for row in _newest_first(lake) if row["policy_digest"] == policy.digest and row["expires_at"] > now)
    return next(map(_override, rows), None)


def former_overrides(lake: Lake, policy: Policy, *, now: datetime | None = None) -> list[FormerOverride]:
    """All that were recorded but the one that holds for the policy by `now` (an aware datetime); the newest first."""
    now = now or datetime.now(UTC)
    held = override_now(lake, policy, now=now)
    return [
        FormerOverride(
            override=_override(row),
            why_not="expired" if row["expires_at"] <= now
            else "another policy" if row["policy_digest"] != policy.digest
            else "replaced",
            policy=f"{row['policy']} ({row['policy_digest'][:12]})" if row["policy"] else row["policy_digest"][:12],
        )
        for row in _newest_first(lake)
        if held is None or row["override_id"] != held.override_id
    ]  # fmt: skip


def _newest_first(lake: Lake) -> list[dict[str, Any]]:
    if not lake.exists(OVERRIDES):
        return []
    with lake.sql(OVERRIDES, POLICIES) as connection:
        rows: list[dict[str, Any]] = connection.sql(_ROWS).to_arrow_table().to_pylist()
    return rows


_ROWS = """
SELECT override_id, who, why, expires_at, tiers, policy_digest, known.name AS policy
FROM overrides LEFT JOIN (
    SELECT policy_digest, min_by(policy || ' ' || policy_version, recorded_at) AS name FROM policies GROUP BY ALL
) AS known USING (policy_digest)
ORDER BY recorded_at DESC, override_id
"""


def _override(row: Mapping[str, Any]) -> Override:
    return Override(
        override_id=row["override_id"], who=row["who"], why=row["why"], expires_at=row["expires_at"],
        tiers=tuple(row["tiers"] or ()),
    )  # fmt: skip
