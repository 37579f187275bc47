"""The schedule and the sensors on a real lake and instance, asked by Dagster's own evaluation what they would start."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

import pipelines.automation.run_requests
from assets.support.common import DESK_TAG, DeskResource
from assets.support.pointer_io import PointerIOManager
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.ingest.ingestion import ingest
from feedback.ingest.new_files import new_arrivals
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.tables import FILES, LABELS
from feedback.sources.raw_files import discover
from pipelines.automation.schedules import nightly
from pipelines.automation.sensors import late_feedback, new_log_files
from pipelines.definitions import defs
from pipelines.runs.day_ranges import range_tags, runs_of_days, say_days, tagged_range

DAY_1 = date(2026, 3, 2)
LINE = dict[str, Any]


def day(number: int) -> date:
    return DAY_1 + timedelta(days=number - 1)


def night_after(number: int) -> datetime:
    return datetime(2026, 3, 2, 2, tzinfo=UTC) + timedelta(days=number)


def event(number: int, kind: str, ticket: int, minute: int = 0) -> LINE:
    """A line that arrives on day `number` and speaks of a ticket, which has one draft."""
    draft = {} if kind == "reopened" else {"draft_id": f"d{ticket}"}
    texts = {"prompt": [{"role": "user", "content": "hello?"}], "completion": f"reply {ticket}"}
    return {
        "event_id": f"{kind} {ticket}",
        "kind": kind,
        "occurred_at": (datetime(2026, 3, 2, 9, minute, tzinfo=UTC) + timedelta(days=number - 1)).isoformat(),
        "ticket_id": f"t{ticket}",
        **draft,
        **(texts if kind == "draft_shown" else {}),
    }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk with a draft a day, each sent as it stood, from day 1 to day 5."""
    raw = tmp_path / "raw"
    raw.mkdir()
    settings = DeskSettings(
        source="canonical", input=raw, policy="harbor-support.v1", first_day=DAY_1, as_of=night_after(5)
    )
    for number in range(1, 6):
        arrive(settings.input, number, event(number, "draft_shown", number), event(number, "accepted", number, 5))
    return Desk.create(tmp_path / "home", "desk", settings)


def arrive(raw: Path, number: int, *lines: LINE) -> None:
    with (raw / f"{day(number)}.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def become(desk: Desk, **settings: Any) -> Desk:
    """The same desk with other settings."""
    return Desk.create(desk.home, desk.name, DeskSettings(**{**desk.settings.model_dump(), **settings}))


def execute(
    desk: Desk, instance: dg.DagsterInstance, job: str, tags: dict[str, str], *, fails: bool = False
) -> dg.ExecuteInProcessResult:
    resource = DeskResource(home=str(desk.home))
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        tags=tags,
        resources={"desk": resource, "io_manager": PointerIOManager(desk=resource)},
        raise_on_error=not fails,
    )
    assert result.success is not fails
    return result


def build(desk: Desk, first: int, last: int) -> None:
    """What the job ingest_logs does for some days, without Dagster, which takes seconds to do it."""
    days = [day(number) for number in range(first, last + 1)]
    moment = desk.settings.as_of or datetime.now(UTC)
    raw = desk.settings.input
    ingest(desk.lake, desk.source, discover(raw, desk.source), days, input_root=raw)
    write_interactions(desk.lake, days, as_of=moment)
    write_labels(desk.lake, desk.policy, days, as_of=moment)


def look(
    sensor: dg.SensorDefinition, desk: Desk, instance: dg.DagsterInstance, cursor: str | None = None
) -> tuple[list[dg.RunRequest], str, str | None]:
    """What the sensor asks for, why it asks for nothing, and where its cursor is then."""
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"desk": DeskResource(home=str(desk.home))}
    ) as context:
        data = sensor.evaluate_tick(context)
    return list(data.run_requests or []), data.skip_message or "", data.cursor


def ranges(requests: list[dg.RunRequest]) -> list[tuple[date, date] | None]:
    return [tagged_range(request.tags) for request in requests]


def verdicts(desk: Desk) -> dict[str, tuple[str, str]]:
    with desk.lake.sql(LABELS) as connection:
        rows = connection.execute("SELECT draft_id, rule, state FROM labels ORDER BY draft_id").fetchall()
    return {draft: (rule, state) for draft, rule, state in rows}


def test_a_reopening_five_days_later_builds_the_day_it_touches_again_and_no_other(
    desk: Desk, instance: dg.DagsterInstance
) -> None:
    execute(desk, instance, "ingest_logs", range_tags(day(1), day(5)))
    assert verdicts(desk)["d1"] == ("accepted", "provisional")
    assert look(late_feedback, desk, instance)[0] == []

    desk = become(desk, as_of=night_after(6))
    arrive(desk.settings.input, 6, event(6, "draft_shown", 6), event(6, "reopened", 1))
    [request], _, _ = look(new_log_files, desk, instance)
    assert tagged_range(request.tags) == (day(6), day(6))
    result = execute(desk, instance, "ingest_logs", dict(request.tags))
    [arrived] = result.asset_materializations_for_node("feedback_events")
    assert arrived.metadata["touched days"].value == [str(day(1)), str(day(6))]
    assert arrived.metadata["days touched"].value == 2

    [request], _, _ = look(late_feedback, desk, instance)
    assert tagged_range(request.tags) == (day(1), day(1)), "the run of day 6 has built day 6"
    result = execute(desk, instance, "refresh", dict(request.tags))
    assert {
        name: [seen.partition for seen in result.asset_materializations_for_node(name)]
        for name in ("interactions", "labels")
    } == {"interactions": [str(day(1))], "labels": [str(day(1))]}
    assert verdicts(desk)["d1"] == ("reopened_after_send", "provisional")
    assert verdicts(desk)["d2"] == ("accepted", "provisional")
    assert look(late_feedback, desk, instance)[0] == []


def test_labels_that_have_matured_are_built_again_once_the_logs_reach_that_far(
    desk: Desk, instance: dg.DagsterInstance
) -> None:
    build(desk, 1, 5)
    desk = become(desk, as_of=night_after(9))
    assert look(late_feedback, desk, instance)[0] == [], "seven days have passed, but their logs have not arrived"
    for number in (8, 9):
        arrive(desk.settings.input, number, event(number, "draft_shown", number))
    build(desk, 6, 9)
    [request], _, _ = look(late_feedback, desk, instance)
    assert tagged_range(request.tags) == (day(1), day(2))
    build(desk, 1, 2)
    assert [verdicts(desk)[draft][1] for draft in ("d1", "d2", "d3")] == ["final", "final", "provisional"]
    assert look(late_feedback, desk, instance)[0] == []


def test_a_day_is_asked_for_once_however_often_one_looks(desk: Desk, instance: dg.DagsterInstance) -> None:
    build(desk, 2, 5)
    arrive(desk.settings.input, 4, event(4, "reopened", 2))
    build(desk, 4, 4)

    def start(job: str, name: str) -> None:
        tags = {**range_tags(day(1), day(3)), DESK_TAG: name}
        instance.add_run(dg.DagsterRun(job_name=job, tags=tags, status=dg.DagsterRunStatus.STARTED))

    start("refresh", "another desk")
    start("relabel", desk.name)
    [request], _, cursor = look(late_feedback, desk, instance)
    assert tagged_range(request.tags) == (day(2), day(2)), "neither run makes this desk's interactions"
    assert request.run_key is None, "a key would keep the day from being asked for when it is touched again"
    start("refresh", desk.name)
    requests, why, _ = look(late_feedback, desk, instance, cursor)
    assert requests == []
    assert "in the hands of a run already: 2026-03-03" in why


def test_nothing_is_asked_for_while_a_policy_is_being_applied(desk: Desk, instance: dg.DagsterInstance) -> None:
    build(desk, 2, 5)
    arrive(desk.settings.input, 4, event(4, "reopened", 2))
    build(desk, 4, 4)

    def start(name: str) -> dg.DagsterRun:
        tags = {DESK_TAG: name}
        return instance.add_run(dg.DagsterRun(job_name="apply_policy", tags=tags, status=dg.DagsterRunStatus.STARTED))

    start("another desk")
    assert look(late_feedback, desk, instance)[0]
    applying = start(desk.name)
    for sensor in (late_feedback, new_log_files):
        requests, why, _ = look(sensor, desk, instance)
        assert requests == []
        assert why.startswith("a policy is being applied")
    instance.report_run_failed(applying)
    for sensor in (late_feedback, new_log_files):
        assert look(sensor, desk, instance)[0]


def test_what_failed_is_asked_for_again(
    desk: Desk, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(desk, 1, 5)
    arrive(desk.settings.input, 5, event(5, "reopened", 1))
    build(desk, 5, 5)
    [request], _, cursor = look(late_feedback, desk, instance)
    # The interactions are written, and then the labels fail.
    broken = become(desk, policy=str(desk.path / "no such policy.yaml"))
    execute(broken, instance, "refresh", dict(request.tags), fails=True)
    requests, why, cursor = look(late_feedback, desk, instance, cursor)
    assert requests == []
    assert "left for an hour after a run that failed: 2026-03-02" in why
    monkeypatch.setattr(pipelines.automation.run_requests, "WAIT_AFTER_FAILURE", timedelta(0))
    [again], _, _ = look(late_feedback, desk, instance, cursor)
    assert again.tags == request.tags
    desk = become(desk, policy="harbor-support.v1")
    build(desk, 1, 1)
    assert look(late_feedback, desk, instance)[0] == []


def test_a_lake_that_has_not_changed_costs_nothing(
    desk: Desk, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(desk, 1, 5)
    _, why, cursor = look(late_feedback, desk, instance)
    assert why == "no day is touched by later feedback or time"
    with monkeypatch.context() as patch:
        patch.delattr("pipelines.automation.sensors.touched_days")
        assert "nothing has changed" in look(late_feedback, desk, instance, cursor)[1]
    later = become(desk, as_of=night_after(6))
    assert look(late_feedback, later, instance, cursor)[1] == why, "time may have changed what is known"


def test_days_that_are_no_partition_are_named_and_not_asked_for(desk: Desk, instance: dg.DagsterInstance) -> None:
    early = event(1, "draft_shown", 7) | {"occurred_at": "2025-12-30T09:00:00+00:00"}
    arrive(desk.settings.input, 1, early)
    build(desk, 1, 5)
    (desk.settings.input / "2025-12-31.jsonl").write_text(json.dumps(early | {"event_id": "another"}) + "\n")
    for sensor in (late_feedback, new_log_files):
        requests, why, _ = look(sensor, desk, instance)
        assert requests == []
        assert "outside the partitions, which begin with first_day in desk.yaml: 2025-12-3" in why


def test_new_and_changed_files_are_asked_for_by_day_and_no_others(desk: Desk, instance: dg.DagsterInstance) -> None:
    raw = desk.settings.input
    (raw / f"{day(3)}.jsonl").unlink()
    requests, _, cursor = look(new_log_files, desk, instance)
    assert ranges(requests) == [(day(1), day(2)), (day(4), day(5))]
    build(desk, 1, 2)
    build(desk, 4, 5)
    requests, why, cursor = look(new_log_files, desk, instance, cursor)
    assert requests == []
    assert "no new log files" in why
    arrive(raw, 2, event(2, "reopened", 1))
    # As many bytes as before, and as old: only reading it shows the change.
    same_size = raw / f"{day(4)}.jsonl"
    same_size.write_text(same_size.read_text().replace("reply 4", "reply 9"))
    (raw / f"{datetime.now(UTC).date()}.jsonl").write_text("{}\n")
    for told in (cursor, None):
        assert ranges(look(new_log_files, desk, instance, told)[0]) == [(day(2), day(2)), (day(4), day(4))]


def test_logs_whose_ingestion_failed_are_asked_for_again(
    desk: Desk, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    [request], _, cursor = look(new_log_files, desk, instance)
    broken = become(desk, source=str(desk.path / "no such source.sql"))
    execute(broken, instance, "ingest_logs", dict(request.tags), fails=True)
    desk = become(desk, source="canonical")
    assert "left for an hour after a run that failed" in look(new_log_files, desk, instance, cursor)[1]
    monkeypatch.setattr(pipelines.automation.run_requests, "WAIT_AFTER_FAILURE", timedelta(0))
    [again], _, cursor = look(new_log_files, desk, instance, cursor)
    assert again.tags == request.tags
    build(desk, 1, 5)
    assert look(new_log_files, desk, instance, cursor)[0] == []
    # Interrupted between two tables: the books say what the events do not hold.
    events = desk.lake.path(FILES).parent / "events"
    events.rename(events.with_name("elsewhere"))
    assert look(new_log_files, desk, instance, cursor)[0][0].tags == request.tags


def test_reading_files_takes_no_longer_than_a_look_may_take(desk: Desk, instance: dg.DagsterInstance) -> None:
    build(desk, 1, 5)
    files = discover(desk.settings.input, desk.source)
    assert new_arrivals(desk.lake, files, seconds=-1).unread == 5
    found = new_arrivals(desk.lake, files, seconds=60)
    assert (found.new, found.unread) == ([], 0)
    assert new_arrivals(desk.lake, files, marks=found.marks, seconds=-1).unread == 0


@pytest.mark.parametrize("sensor", [new_log_files, late_feedback])
def test_without_a_desk_a_sensor_says_what_to_do(
    tmp_path: Path, instance: dg.DagsterInstance, sensor: dg.SensorDefinition
) -> None:
    with dg.build_sensor_context(instance=instance, resources={"desk": DeskResource(home=str(tmp_path))}) as context:
        data = sensor.evaluate_tick(context)
    assert "feedback-kto init" in (data.skip_message or "")


def asked_by_night(desk: Desk, night: datetime) -> tuple[date, date] | None:
    with dg.build_schedule_context(
        scheduled_execution_time=night, resources={"desk": DeskResource(home=str(desk.home))}
    ) as context:
        [request] = nightly.evaluate_tick(context).run_requests or []
    return tagged_range(request.tags)


@pytest.mark.parametrize(("night", "first"), [(19, 5), (3, 1)])
def test_the_nightly_run_covers_yesterday_and_what_late_feedback_may_change(desk: Desk, night: int, first: int) -> None:
    assert asked_by_night(desk, night_after(night)) == (day(first), day(night))


def test_the_nightly_run_reaches_back_to_labels_that_can_be_final_by_now(desk: Desk) -> None:
    desk = become(desk, as_of=None)
    row = dict.fromkeys(LABELS.schema.names) | {"label": "desirable", "state": "provisional"}
    rows = [
        row | {"shown_date": day(2), "matures_at": night_after(60)},
        row | {"shown_date": day(3), "matures_at": night_after(30)},
    ]
    desk.lake.replace(LABELS, pa.Table.from_pylist(rows, LABELS.schema), [day(2), day(3)])
    assert asked_by_night(desk, night_after(40)) == (day(3), day(40))
    assert asked_by_night(desk, night_after(29)) == (day(15), day(29)), "nothing that only waits"
    assert asked_by_night(become(desk, first_day=day(10)), night_after(40)) == (day(26), day(40))


def test_days_fall_into_ranges_without_gaps() -> None:
    days = [day(number) for number in (1, 2, 3, 7, 9, 10)]
    assert runs_of_days(days) == [(day(1), day(3)), (day(7), day(7)), (day(9), day(10))]
    assert say_days(days, most=2) == "2026-03-02 to 2026-03-04, 2026-03-08 and 1 more"
    assert tagged_range({"dagster/partition": "2026-03-02"}) == (day(1), day(1))
    assert tagged_range({}) is None


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
    assert "is for desk other, but this process has loaded desk desk" in str(refused.value.__cause__)
