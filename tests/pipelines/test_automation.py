"""The schedule and the sensor, asked by Dagster's own evaluation what they would start."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from assets.common import DESK_TAG, DeskResource
from assets.desk import Desk, DeskSettings
from feedback.tables import LABELS
from pipelines.ranges import range_tags, runs_of_days
from pipelines.schedules import nightly
from pipelines.sensors import new_log_files


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    raw = tmp_path / "raw"
    raw.mkdir()
    for day in ("2026-02-01", "2026-02-02", "2026-02-05"):
        (raw / f"{day}.jsonl").write_text("{}\n")
    settings = DeskSettings(source="canonical", input=raw, policy="harbor-support.v1", first_day=date(2026, 2, 1))
    return Desk.create(tmp_path / "home", "desk", settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as temporary:
        yield temporary


def look(
    desk: Desk, instance: dg.DagsterInstance, cursor: str | None
) -> tuple[list[dict[str, str]], str | None, str | None]:
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"desk": DeskResource(home=str(desk.home))}
    ) as context:
        data = new_log_files.evaluate_tick(context)
    ranges = [
        {key.rsplit("_", 1)[-1]: value for key, value in request.tags.items() if "partition_range" in key}
        for request in data.run_requests or []
    ]
    return ranges, data.cursor, data.skip_message


def test_new_and_changed_files_are_asked_for_by_day_and_no_others(desk: Desk, instance: dg.DagsterInstance) -> None:
    first, cursor, _ = look(desk, instance, None)
    assert first == [{"start": "2026-02-01", "end": "2026-02-02"}, {"start": "2026-02-05", "end": "2026-02-05"}]
    again, cursor, why = look(desk, instance, cursor)
    assert again == []
    assert "no new log files" in (why or "")
    raw = desk.settings.input
    (raw / "2026-02-02.jsonl").write_text("{}\n{}\n")
    (raw / f"{datetime.now(UTC).date()}.jsonl").write_text("{}\n")
    changed, cursor, _ = look(desk, instance, cursor)
    assert changed == [{"start": "2026-02-02", "end": "2026-02-02"}], "today has not ended yet"
    assert set(json.loads(cursor or "{}")) == {"2026-02-01.jsonl", "2026-02-02.jsonl", "2026-02-05.jsonl"}


def test_a_run_key_is_of_the_content_of_the_days(desk: Desk, instance: dg.DagsterInstance) -> None:
    def keys() -> list[str]:
        with dg.build_sensor_context(
            instance=instance, resources={"desk": DeskResource(home=str(desk.home))}
        ) as context:
            return [request.run_key or "" for request in new_log_files.evaluate_tick(context).run_requests or []]

    before = keys()
    assert keys() == before
    path = desk.settings.input / "2026-02-05.jsonl"
    os.utime(path, (1, 1))
    after = keys()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_without_a_desk_the_sensor_says_what_to_do(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(instance=instance, resources={"desk": DeskResource(home=str(tmp_path))}) as context:
        data = new_log_files.evaluate_tick(context)
    assert "feedback-kto init" in (data.skip_message or "")


@pytest.mark.parametrize(
    ("night", "first"),
    [(datetime(2026, 2, 20, 2, tzinfo=UTC), "2026-02-05"), (datetime(2026, 2, 4, 2, tzinfo=UTC), "2026-02-01")],
)
def test_the_nightly_run_covers_yesterday_and_what_late_feedback_may_change(
    desk: Desk, night: datetime, first: str
) -> None:
    with dg.build_schedule_context(
        scheduled_execution_time=night, resources={"desk": DeskResource(home=str(desk.home))}
    ) as context:
        [request] = nightly.evaluate_tick(context).run_requests or []
    yesterday = date.fromordinal(night.date().toordinal() - 1)
    assert range_tags(date.fromisoformat(first), yesterday).items() <= request.tags.items()


def test_days_fall_into_ranges_without_gaps() -> None:
    days = {date(2026, 2, day) for day in (1, 2, 3, 7, 9, 10)}
    assert [(first.day, last.day) for first, last in runs_of_days(days)] == [(1, 3), (7, 7), (9, 10)]


def test_a_run_asked_for_on_another_desk_is_refused(desk: Desk, instance: dg.DagsterInstance) -> None:
    @dg.op
    def touch(desk: DeskResource) -> None:
        desk.active()

    @dg.job(resource_defs={"desk": DeskResource(home=str(desk.home), name="desk")})
    def work() -> None:
        touch()

    assert work.execute_in_process(instance=instance, tags={DESK_TAG: "desk"}).success
    with pytest.raises(dg.DagsterError) as refused:
        work.execute_in_process(instance=instance, tags={DESK_TAG: "other"})
    assert "asked for on desk other, but this process has loaded desk desk" in str(refused.value.__cause__)


def test_the_nightly_run_reaches_back_to_what_is_still_maturing(desk: Desk) -> None:
    row = dict.fromkeys(LABELS.schema.names)
    row |= {"shown_date": date(2026, 2, 3), "label": "desirable", "state": "provisional"}
    desk.lake.replace(LABELS, pa.Table.from_pylist([row], LABELS.schema), [date(2026, 2, 3)])
    with dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 3, 20, 2, tzinfo=UTC),
        resources={"desk": DeskResource(home=str(desk.home))},
    ) as context:
        [request] = nightly.evaluate_tick(context).run_requests or []
    assert range_tags(date(2026, 2, 3), date(2026, 3, 19)).items() <= request.tags.items()
