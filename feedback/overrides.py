"""Overrides: who opened the audit's gate by hand, why, and until when. A journal; the newest that holds counts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from feedback.exceptions import FeedbackError
from feedback.journals import append
from feedback.lake import Lake
from feedback.tables import OVERRIDES
from label_policy import Policy
from label_policy.audit_gate import Override


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
    asked = [str(tier) for tier in policy.audit.precision if tier in policy.training.tiers]
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


def override_now(lake: Lake, policy: Policy, *, now: datetime | None = None) -> Override | None:
    """The newest override of this very policy that has not expired by `now` (an aware datetime), or None."""
    if not lake.exists(OVERRIDES):
        return None
    with lake.sql(OVERRIDES) as connection:
        rows = (
            connection.sql(
                """
                SELECT override_id, who, why, expires_at, tiers FROM overrides
                WHERE policy_digest = $digest AND expires_at > $now ORDER BY recorded_at DESC, override_id LIMIT 1
                """,
                params={"digest": policy.digest, "now": now or datetime.now(UTC)},
            )
            .to_arrow_table()
            .to_pylist()
        )
    return Override(**{**rows[0], "tiers": tuple(rows[0]["tiers"] or ())}) if rows else None
