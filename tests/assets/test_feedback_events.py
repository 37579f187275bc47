"""What is checked of the record once a day's files are read."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from assets.feedback_events import all_files_complete
from assets.support.common import DeskResource
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.ingest.ingestion import ingest
from feedback.sources.raw_files import discover

DAY = date(2026, 3, 2)
LINE = '{"event_id": "1", "kind": "resolved", "occurred_at": "2026-03-02T09:00:00Z", "ticket_id": "t"}\n'


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_that_was_not_read_to_its_end_is_named(tmp_path: Path, damaged: bool) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / f"{DAY}.jsonl").write_text(LINE)
    if damaged:
        (logs / f"{DAY}.parquet").write_bytes(b"PAR1")
    settings = DeskSettings(source="canonical", input=logs, policy="harbor-support.v1", first_day=DAY)
    desk = Desk.create(tmp_path, "toy", settings)
    ingest(desk.lake, desk.source, discover(logs, desk.source), [DAY], input_root=logs)
    result = all_files_complete(DeskResource(home=str(tmp_path), name="toy"))
    assert isinstance(result, dg.AssetCheckResult)
    assert result.passed is not damaged
    if damaged:
        assert result.severity is dg.AssetCheckSeverity.WARN
        assert f"not read to the end: {DAY}.parquet (damaged Parquet after line 0" in (result.description or "")
