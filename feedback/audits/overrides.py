"""Overrides: who opened the audit's gate by hand, why, and until when. A journal; the newest valid one counts."""

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
    """Record that labels of this policy train although their audit has not passed.

    Args:
        lake: holds the journal.
        policy: the override is bound to its digest and does not open the gate of any other policy.
        who: the person who opens it.
        why: the reason that the manifest and the model card show.
        tiers: the tiers that train; none: all, whatever was read.
        days: how long the override is valid, at least 1.

    Raises:
        FeedbackError: the person or the reason is missing, or the policy asks for no audit or none of such a tier.

    """
    who, why = " ".join(who.split()), " ".join(why.split())
    if not who or not why:
        raise FeedbackError("an override needs a name and a reason; give --who and --why")
    if days < 1:
        raise FeedbackError(f"an override cannot be valid for {days} days; give 1 or more")
    required = bounds(policy.audit, policy.training)
    if not required:
        raise FeedbackError(f"{policy.name} {policy.version} asks for no audit, so it has no gate to open")
    if unknown := [tier for tier in tiers if tier not in required]:
        raise FeedbackError(
            f"{policy.name} {policy.version} asks for no audit of tier {unknown[0]}; name one of {', '.join(required)}"
        )
    now = datetime.now(UTC)
    override = Override(
        override_id=uuid.uuid4().hex[:12],
        who=who,
        why=why,
        expires_at=now + timedelta(days=days),
        tiers=tuple(tier for tier in required if tier in tiers),
    )
    row = {
        "override_id": override.override_id,
        "policy_digest": policy.digest,
        "tiers": list(override.tiers),
        "who": override.who,
        "why": override.why,
        "expires_at": override.expires_at,
        "recorded_at": now,
    }
    append(lake, OVERRIDES, pa.Table.from_pylist([row], OVERRIDES.schema))
    return override


@dataclass(frozen=True, kw_only=True)
class FormerOverride:
    """An override that no longer opens the gate.

    Attributes:
        override: what was recorded.
        why_not: it has `expired`, it is of `another policy`, or a newer one of the policy has `replaced` it.
        policy: the policy that it belongs to: the digest, and name and version where that policy ever labelled.

    """

    override: Override
    why_not: Literal["expired", "another policy", "replaced"]
    policy: str

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.override.as_dict(), "why_not": self.why_not, "policy": self.policy}


def override_now(lake: Lake, policy: Policy, *, now: datetime | None = None) -> Override | None:
    """Return the newest override of exactly this policy that has not expired by `now` (an aware datetime), or None."""
    now = now or datetime.now(UTC)
    rows = (row for row in _newest_first(lake) if row["policy_digest"] == policy.digest and row["expires_at"] > now)
    return next(map(_override, rows), None)


def former_overrides(lake: Lake, policy: Policy, *, now: datetime | None = None) -> list[FormerOverride]:
    """Return all recorded overrides, newest first, without the policy's valid one at `now` (an aware datetime)."""
    now = now or datetime.now(UTC)
    valid = override_now(lake, policy, now=now)
    return [
        FormerOverride(
            override=_override(row),
            why_not="expired" if row["expires_at"] <= now
            else "another policy" if row["policy_digest"] != policy.digest
            else "replaced",
            policy=f"{row['policy']} ({row['policy_digest'][:12]})" if row["policy"] else row["policy_digest"][:12],
        )
        for row in _newest_first(lake)
        if valid is None or row["override_id"] != valid.override_id
    ]  # fmt: skip


def _newest_first(lake: Lake) -> list[dict[str, Any]]:
    if not lake.exists(OVERRIDES):
        return []
    with lake.sql(OVERRIDES, POLICIES) as connection:
        rows: list[dict[str, Any]] = connection.sql(_ROWS).to_arrow_table().to_pylist()
    return rows


_ROWS = """
SELECT override_id, who, why, expires_at, tiers, policy_digest, named.name AS policy
FROM overrides LEFT JOIN (
    SELECT policy_digest, min_by(policy || ' ' || policy_version, recorded_at) AS name FROM policies GROUP BY ALL
) AS named USING (policy_digest)
ORDER BY recorded_at DESC, override_id
"""


def _override(row: Mapping[str, Any]) -> Override:
    return Override(
        override_id=row["override_id"], who=row["who"], why=row["why"], expires_at=row["expires_at"],
        tiers=tuple(row["tiers"] or ()),
    )  # fmt: skip
