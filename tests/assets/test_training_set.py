"""The checks of a training set, and what becomes of one that lies there already and whose files may have been lost."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.support.common import DeskResource
from assets.training_set import audit_passed, both_classes, split_by_ticket, training_set
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.exceptions import FeedbackError
from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.sources.raw_files import discover
from feedback.training_set.build import read_training_set

DAY = date(2026, 3, 2)
ABOUT = '"occurred_at": "2026-03-02T09:00:00Z", "ticket_id": "t", "draft_id": "d"'
LINES = f"""\
{{"event_id": "1", "kind": "draft_shown", "prompt": [{{"role": "user", "content": "?"}}], "completion": "!", {ABOUT}}}
{{"event_id": "2", "kind": "thumbs_down", {ABOUT}}}
"""


@pytest.fixture(scope="module")
def resource(tmp_path_factory: pytest.TempPathFactory) -> DeskResource:
    """A desk whose one label is undesirable, is not audited, and is not held out."""
    home = tmp_path_factory.mktemp("home")
    logs = home / "logs"
    logs.mkdir()
    (logs / f"{DAY}.jsonl").write_text(LINES)
    settings = DeskSettings(source="canonical", input=logs, policy="harbor-support.v1", first_day=DAY, heldout=0)
    desk = Desk.create(home, "toy", settings)
    ingest(desk.lake, desk.source, discover(logs, desk.source), [DAY], input_root=logs)
    moment = datetime(2026, 3, 20, tzinfo=UTC)
    write_interactions(desk.lake, [DAY], as_of=moment)
    write_labels(desk.lake, desk.policy, [DAY], as_of=moment)
    return DeskResource(home=str(home), name="toy")


@pytest.fixture(scope="module")
def made(resource: DeskResource) -> dict[str, Any]:
    output = training_set(resource)
    assert isinstance(output, dg.Output)
    return output.value


def rewrite(made: dict[str, Any], folder: Path, **changed: Any) -> dict[str, Any]:
    """The set with another manifest, in the folder."""
    manifest = json.loads((Path(made["path"]) / "manifest.json").read_text())
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | changed))
    return {"path": str(folder)}


def test_the_check_of_both_classes_says_what_there_is_none_of(
    resource: DeskResource, made: dict[str, Any], tmp_path: Path
) -> None:
    result = both_classes(resource, made)
    assert not result.passed
    assert result.description == (
        "no desirable rows to train on and no desirable rows to judge by and no undesirable rows to judge by: of the "
        "final labels 0 desirable and 1 undesirable train, 0 desirable and 0 undesirable are held out; bring more "
        "logs, raise heldout in desk.yaml where only held-out rows are missing, or change the policy"
    )
    both = {"desirable": 1, "undesirable": 1}
    result = both_classes(resource, rewrite(made, tmp_path, counts={"train": both, "heldout": both}))
    assert result.passed and result.description is None


def test_the_check_of_the_audit_is_its_gates(made: dict[str, Any], tmp_path: Path) -> None:
    result = audit_passed(made)
    assert not result.passed
    assert "`feedback-kto audit draw` draws one" in str(result.description)
    audit = read_training_set(Path(made["path"])).manifest["audit"]
    opened = {"passed": True, "reasons": [], "override": {"who": "Ann", "why": "the launch"}, "overridden": ["nothing"]}
    result = audit_passed(rewrite(made, tmp_path, audit={**audit, "gate": {**audit["gate"], **opened}}))
    assert result.passed
    assert result.description == "opened by Ann: the launch; nothing"


def test_the_check_of_the_split_names_tickets_on_both_sides(tmp_path: Path) -> None:
    for split, tickets in (("train", ["a", "b"]), ("heldout", ["c"])):
        (tmp_path / "desirable").mkdir(exist_ok=True)
        pq.write_table(pa.table({"ticket_id": tickets}), tmp_path / "desirable" / f"{split}-00000.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    assert split_by_ticket({"path": str(tmp_path)}).passed
    (tmp_path / "undesirable").mkdir()
    pq.write_table(pa.table({"ticket_id": ["a", "d"]}), tmp_path / "undesirable" / "heldout-00000.parquet")
    result = split_by_ticket({"path": str(tmp_path)})
    assert not result.passed
    assert result.metadata["tickets"].value == ["a"]


def test_what_is_lost_of_it_stops_the_run_by_name(resource: DeskResource, made: dict[str, Any]) -> None:
    file = Path(made["path"]) / "undesirable" / "train-00000.parquet"
    whole = file.read_bytes()
    file.unlink()
    with pytest.raises(FeedbackError, match=f"{file} is damaged or missing; restore it from a copy, or remove the"):
        training_set(resource)
    file.write_bytes(whole)
    assert training_set(resource).value == made
