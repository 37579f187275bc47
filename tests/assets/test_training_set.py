"""What becomes of a training set that lies there already, and whose files may have been lost since it was written."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.support.common import DeskResource
from assets.training_set import training_set
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.exceptions import FeedbackError
from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.sources.raw_files import discover

DAY = date(2026, 3, 2)
ABOUT = '"occurred_at": "2026-03-02T09:00:00Z", "ticket_id": "t", "draft_id": "d"'
LINES = f"""\
{{"event_id": "1", "kind": "draft_shown", "prompt": [{{"role": "user", "content": "?"}}], "completion": "!", {ABOUT}}}
{{"event_id": "2", "kind": "thumbs_down", {ABOUT}}}
"""


def test_what_is_lost_of_it_stops_the_run_by_name(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / f"{DAY}.jsonl").write_text(LINES)
    settings = DeskSettings(source="canonical", input=logs, policy="harbor-support.v1", first_day=DAY, heldout=0)
    desk = Desk.create(tmp_path, "toy", settings)
    ingest(desk.lake, desk.source, discover(logs, desk.source), [DAY], input_root=logs)
    moment = datetime(2026, 3, 20, tzinfo=UTC)
    write_interactions(desk.lake, [DAY], as_of=moment)
    write_labels(desk.lake, desk.policy, [DAY], as_of=moment)
    made = training_set(DeskResource(home=str(tmp_path), name="toy"))
    assert isinstance(made, dg.Output)
    file = Path(made.value["path"]) / "undesirable" / "train-00000.parquet"
    file.unlink()
    with pytest.raises(FeedbackError, match=f"{file} is damaged or missing; restore it from a copy, or remove the"):
        training_set(DeskResource(home=str(tmp_path), name="toy"))
