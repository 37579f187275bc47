"""The labels of a small desk through Dagster: the moment a run speaks of, what it corrects, what the checks say."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.interactions import interactions
from assets.labels import few_flips, labels, one_policy
from assets.support.common import DeskResource
from assets.support.stages import AS_OF_TAG
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.labels.ledger import entries
from feedback.lake.tables import EVENTS, LABELS

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
POLICY = """
name: harbor-support
version: 2
description: for a test
owner: nobody
maturity: {reopened: 3d}
rules:
  - {id: came_back, when: reopened_at >= accepted_at, label: undesirable, tier: strong, weight: 0.6, why: came back}
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1.0, why: it was sent}
"""


def event(kind: str, draft: int, days: float) -> dict[str, Any]:
    when = NOON + timedelta(days=days)
    return {
        "event_id": f"{kind} {draft}", "kind": kind, "occurred_at": when, "received_at": when,
        "ticket_id": f"t{draft}", "draft_id": None if kind == "reopened" else f"d{draft}",
        "prompt": [{"role": "user", "content": "?"}], "completion": "reply", "source": "test",
        "arrival_date": when.date() - timedelta(days=1), "file": "log.jsonl", "line": 1,
    }  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Twenty drafts accepted on 2 March; the ticket of one is reopened on 7 March."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    settings = DeskSettings(source="canonical", input=tmp_path, policy=str(policy), first_day=date(2026, 2, 1))
    desk = Desk.create(tmp_path / "home", "desk", settings)
    events = [event(kind, draft, 0) for draft in range(20) for kind in ("draft_shown", "accepted")]
    # The last, of another draft, shows that the logs reach to the day before.
    events += [event("reopened", 7, 5), event("copied", 99, 4), event("copied", 98, 6)]
    rows = [{name: item.get(name) for name in EVENTS.schema.names} for item in events]
    table = pa.Table.from_pylist(rows, schema=EVENTS.schema)
    desk.lake.replace(EVENTS, table, sorted(set(table.column("arrival_date").to_pylist())))
    return desk


@pytest.fixture
def run(desk: Desk, instance: dg.DagsterInstance) -> Callable[..., dg.ExecuteInProcessResult]:
    def materialize(as_of: datetime | None = None) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [interactions, labels, one_policy, few_flips],
            partition_key="2026-03-02",
            resources={"desk": DeskResource(home=str(desk.home))},
            tags={AS_OF_TAG: as_of.isoformat()} if as_of else {},
            instance=instance,
            raise_on_error=False,
        )

    return materialize


def said(result: dg.ExecuteInProcessResult, check: str) -> tuple[bool, str | None]:
    [found] = [item for item in result.get_asset_check_evaluations() if item.check_name == check]
    return found.passed, found.description


def test_late_feedback_is_corrected_counted_and_shown(desk: Desk, run: Callable) -> None:
    first = run(NOON + timedelta(days=4, hours=12))
    assert said(first, "one_policy") == (True, "0 of 1 days behind harbor-support v2")
    assert said(first, "few_flips") == (True, "0 of 20 final labels flipped by later feedback (0.0%)")
    second = run(NOON + timedelta(days=7))
    [shown] = second.asset_materializations_for_node("labels")
    assert shown.metadata["corrections in this run"].value == 1
    assert "feedback | desirable | accepted | undesirable | came_back | 1" in shown.metadata["corrections"].value
    assert shown.metadata["flip rate"].value == pytest.approx(1 / 21)
    assert said(second, "few_flips") == (
        False,
        "1 of 21 final labels flipped by later feedback (4.8%), 1 of them of rule accepted, mostly to came_back: "
        "its maturity window is too short; lengthen it in the policy",
    )
    for stage in ("interactions", "labels"):
        assert [entry.run_id for entry in entries(desk.lake, stage)] == [second.run_id]
    policy = Path(desk.settings.policy)
    policy.write_text(POLICY.replace("version: 2", "version: 3").replace("0.6", "0.5"))
    behind = one_policy(DeskResource(home=str(desk.home)))
    assert isinstance(behind, dg.AssetCheckResult)
    assert (behind.passed, behind.description) == (False, "1 of 1 days behind harbor-support v3")
    assert "`feedback-kto policy plan`" in str(behind.metadata["what to do"])


def test_a_run_that_comes_second_speaks_of_the_later_moment_unless_it_was_asked_for_an_older(
    desk: Desk, run: Callable
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    assert run(later).success
    assert run().success, "it was launched before that moment"
    assert {entry.as_of for entry in entries(desk.lake, "labels")} == {later}
    version = desk.lake.version(LABELS)
    refused = run(later - timedelta(days=1))
    [failure] = refused.get_step_failure_events()
    assert "`feedback-kto rebuild --as-of`" in str(failure.step_failure_data.error)
    assert desk.lake.version(LABELS) == version
