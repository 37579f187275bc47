"""The rules as asset checks, on a real Dagster instance: which days a run checks, and what a failed one stops."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.interactions import interactions
from assets.labels import labels
from assets.support.common import DAYS as PARTITIONS
from assets.support.common import DeskResource
from assets.support.stages import AS_OF_TAG
from assets.validation import validate_feedback_events, validate_interactions, validate_labels
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.lake.tables import EVENTS, LABELS
from feedback.validation import SUITES
from pipelines.definitions import defs
from pipelines.runs.day_ranges import range_tags

OF_DAYS: dict[str, Any] = {"partitions_def": PARTITIONS, "backfill_policy": dg.BackfillPolicy.single_run()}
FIRST = date(2026, 3, 2)
DAYS = [FIRST + timedelta(days=number) for number in range(4)]


def event(kind: str, day: date, number: int) -> dict[str, Any]:
    when = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return dict.fromkeys(EVENTS.schema.names) | {
        "event_id": f"{kind} {day} {number}", "kind": kind, "occurred_at": when, "received_at": when,
        "ticket_id": f"t{day}-{number}", "draft_id": f"d{day}-{number}", "source": "test", "arrival_date": day,
        "prompt": [{"role": "user", "content": "?"}], "completion": "reply", "file": "log.jsonl", "line": 1,
    }  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Four days of three drafts, each accepted."""
    settings = DeskSettings(source="canonical", input=tmp_path, policy="harbor-support.v1", first_day=date(2026, 2, 1))
    desk = Desk.create(tmp_path / "home", "desk", settings)
    rows = [event(kind, day, n) for day in DAYS for n in range(3) for kind in ("draft_shown", "accepted")]
    desk.lake.replace(EVENTS, pa.Table.from_pylist(rows, EVENTS.schema), DAYS)
    return desk


@pytest.fixture
def run(desk: Desk, instance: dg.DagsterInstance) -> Callable[..., dg.ExecuteInProcessResult]:
    def materialize(*definitions: Any, days: tuple[date, date]) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            definitions,
            resources={"desk": DeskResource(home=str(desk.home))},
            tags={**range_tags(*days), AS_OF_TAG: "2026-03-10T00:00:00+00:00"},
            instance=instance,
            raise_on_error=False,
        )

    return materialize


def results(run: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {f"{item.asset_key.to_user_string()}.{item.check_name}": item for item in run.get_asset_check_evaluations()}


def test_every_rule_is_a_check_that_blocks_where_it_is_critical() -> None:
    graph = defs.resolve_asset_graph()
    specs = {(key.asset_key.to_user_string(), key.name): graph.get_check_spec(key) for key in graph.asset_check_keys}
    for asset, suite in SUITES.items():
        for rule in suite.rules:
            spec = specs[asset, rule.name]
            assert (spec.blocking, spec.description) == (rule.severity == "critical", rule.says)


def test_a_failed_critical_rule_names_its_day_and_stops_what_reads_the_asset(
    desk: Desk, run: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    @dg.asset(deps=[labels])
    def reader() -> None: ...

    sound = run(interactions, validate_interactions, labels, validate_labels, reader, days=(DAYS[0], DAYS[3]))
    assert sound.success
    assert len(results(sound)) == sum(len(SUITES[asset].rules) for asset in ("interactions", "labels"))
    assert all(result.passed for result in results(sound).values())

    @dg.asset(name="labels", **OF_DAYS)
    def damaged() -> None:
        """Stand for a bug: of one day's labels, two are not there and one is twice."""
        rows = desk.lake.dataset(LABELS).to_table(filter=pc.field("shown_date") == DAYS[2]).slice(0, 1)
        desk.lake.replace(LABELS, pa.concat_tables([rows, rows]), [DAYS[2]])

    stopped = run(damaged, validate_labels, reader, days=(DAYS[1], DAYS[3]))
    assert not stopped.success
    assert stopped.asset_materializations_for_node("labels")
    assert not stopped.asset_materializations_for_node("reader"), "nothing downstream has read it"
    failed = {name: result for name, result in results(stopped).items() if not result.passed}
    assert set(failed) == {"labels.one_label_a_text", "labels.every_draft_labelled"}
    twice = failed["labels.one_label_a_text"]
    assert twice.severity is dg.AssetCheckSeverity.ERROR and twice.blocking
    assert twice.metadata["where"].value == {"2026-03-04": 1}
    assert "Not so for 1 of 3 cases: 2026-03-04 (repeated 1); run `feedback-kto relabel`" in (twice.description or "")
    page = Path(str(twice.metadata["data docs"].value))
    assert page.parent.parent == desk.path / "data_docs"
    assert page.as_uri() == twice.metadata["data docs page"].value
    assert "one_label_a_text" in page.read_text()
    index = (desk.path / "data_docs" / "index.html").read_text()
    assert f'href="labels/{page.name}"' in index
    # A run that does not speak of that day does not stop for it.
    assert run(damaged, validate_labels, reader, days=(DAYS[0], DAYS[1])).success


def test_a_warning_stops_nothing(desk: Desk, run: Callable[..., dg.ExecuteInProcessResult]) -> None:
    days = [FIRST + timedelta(days=number) for number in range(12)]
    rows = [event("draft_shown", day, number) for day in days[:11] for number in range(12)]
    rows.append(event("draft_shown", days[11], 0) | {"source": "another"})
    desk.lake.replace(EVENTS, pa.Table.from_pylist(rows, EVENTS.schema), days)

    @dg.asset(**OF_DAYS)
    def feedback_events() -> None: ...

    @dg.asset(deps=[feedback_events])
    def reader() -> None: ...

    done = run(feedback_events, validate_feedback_events, reader, days=(days[0], days[11]))
    assert done.success and done.asset_materializations_for_node("reader")
    [failed] = [result for result in results(done).values() if not result.passed]
    assert (failed.check_name, failed.severity) == ("no_source_stopped", dg.AssetCheckSeverity.WARN)
    assert "2026-03-13 (days_too_long 1, source test, days_silent 1, longest_before 0)" in (failed.description or "")
