"""A release with one more kind of event and more draft columns goes on with the lake of the release before it."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake
from feedback.lake.tables import QUARANTINE
from feedback.sources.raw_files import discover
from feedback.sources.source import Source, load_source
from feedback.training_set.build import build_training_set
from label_policy import parse_policy

ROOT = Path(__file__).resolve().parents[2]
AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
FIRST, SECOND = date(2026, 3, 2), date(2026, 3, 3)
POLICY = """\
name: desk
version: 1
description: A desk.
owner: us
rules:
  - {id: liked, when: thumbs_up_at IS NOT NULL, label: desirable, tier: explicit, weight: 1.0, why: x}
  - {id: refused, when: rejected_at IS NOT NULL, label: undesirable, tier: strong, weight: 1.0, why: x}
"""
OTHER_POLICY = POLICY.replace(
    "rules:\n",
    "rules:\n  - {id: put_off, when: snoozed_at IS NOT NULL AND locale = 'de' AND is_vip AND waited < 5,"
    " label: undesirable, tier: weak, weight: 0.5, why: x}\n",
)
COLUMNS = ("event_id", "kind", "occurred_at", "ticket_id", "draft_id", "prompt", "completion")
# What a later release adds is in its two lists and nowhere else.
LATER_RELEASE = """
import sys
import pyarrow as pa
from label_policy.schema import draft_columns as columns, event_kinds as kinds

kinds.EVENT_KINDS += (kinds.EventKind(name="snoozed", about=kinds.About.DRAFT, says="put off"),)
columns.DRAFT_COLUMNS += (
    columns.DraftColumn(name="locale", says="the customer's", trains=True),
    columns.DraftColumn(name="waited", type=pa.float64(), says="hours"),
    columns.DraftColumn(name="is_vip", type=pa.bool_(), says="whether", trains=True),
)
columns.DRAFT_COLUMN_NAMES += ("locale", "waited", "is_vip")
columns.TRAINING_COLUMN_NAMES += ("locale", "is_vip")

import json
from pathlib import Path
import polars as pl
import pyarrow.parquet as pq
from tests.feedback.test_added_words import OTHER_POLICY, POLICY, FIRST, SECOND, build, source
from feedback.lake.delta import Lake
from feedback.lake.tables import INTERACTIONS, LABELS, QUARANTINE
from kto_core.data.datasets import TrainingSet

root = Path(sys.argv[1])
lake = Lake(root / "lake")
same = build(root, source(root, more=("locale", "waited", "is_vip")), [FIRST], POLICY)
both = build(root, source(root, more=("locale", "waited", "is_vip")), [FIRST, SECOND], OTHER_POLICY)

def rows(table, *names):
    return pl.from_arrow(lake.dataset(table).to_table()).select(names).sort(names[0]).rows()

print(json.dumps({
    "same": same.version,
    "both": both.version,
    "interactions": rows(INTERACTIONS, "draft_id", "locale", "waited", "is_vip"),
    "snoozed": [draft for draft, at in rows(INTERACTIONS, "draft_id", "snoozed_at") if at is not None],
    "labels": rows(LABELS, "draft_id", "rule", "locale"),
    "reasons": [reason for (reason,) in rows(QUARANTINE, "reason")],
    "trained": TrainingSet.open(both.path).rows("train").table["row_id"].to_pylist(),
    "columns": pq.read_schema(next(both.path.glob("desirable/train-*"))).names,
}))
"""


def shown(draft: str, day: date, **more: Any) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"question {draft}"}]
    return event("draft_shown", draft, day, prompt=prompt, completion=f"answer {draft}", **more)


def event(kind: str, draft: str, day: date, **more: Any) -> dict[str, Any]:
    ids = {"event_id": f"{draft} {kind}", "ticket_id": f"t{draft}", "draft_id": draft}
    return {**ids, "kind": kind, "occurred_at": f"{day}T12:00:00Z", **more}


def source(root: Path, more: tuple[str, ...] = ()) -> Source:
    """A mapping that returns `more` draft columns."""
    path = root / "mine.sql"
    returned = ", ".join(f"row -> '{name}' AS {name}" for name in (*COLUMNS, *more))
    path.write_text(f"SELECT file, line, {returned} FROM lines")
    return load_source(path)


def build(root: Path, mapping: Source, days: list[date], policy: str) -> Any:
    """From raw files to a training set."""
    lake, rules = Lake(root / "lake"), parse_policy(policy)
    files = discover(root / "raw", mapping)
    ingest(lake, mapping, files, [file.arrival_date for file in files if file.arrival_date in days], input_root=root)
    write_interactions(lake, days, as_of=AS_OF)
    write_labels(lake, rules, days, as_of=AS_OF)
    return build_training_set(lake, rules, root / "sets", heldout=0.0)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    later = {"locale": "de", "waited": 1.5, "is_vip": True}
    by_day = {
        FIRST: [shown("a", FIRST), event("thumbs_up", "a", FIRST), shown("b", FIRST), event("rejected", "b", FIRST)],
        SECOND: [
            shown("c", SECOND, **later), event("snoozed", "c", SECOND),
            shown("d", SECOND, **{**later, "is_vip": False, "waited": 7}), event("thumbs_up", "d", SECOND),
            shown("e", SECOND, waited="long"), shown("f", SECOND, is_vip="perhaps"), shown("g", SECOND, locale=["de"]),
        ],
    }  # fmt: skip
    (tmp_path / "raw").mkdir()
    for day, events in by_day.items():
        (tmp_path / "raw" / f"{day}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events))
    return tmp_path


def test_an_added_kind_and_added_columns_go_all_the_way_and_what_was_there_stays(raw: Path) -> None:
    before = build(raw, source(raw), [FIRST], POLICY)
    done = subprocess.run(
        [sys.executable, "-c", LATER_RELEASE, str(raw)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["same"] == before.version != made["both"]
    assert made["interactions"] == [
        ["a", None, None, None], ["b", None, None, None], ["c", "de", 1.5, True], ["d", "de", 7.0, False],
    ]  # fmt: skip
    assert made["snoozed"] == ["c"]
    assert made["labels"] == [
        ["a", "liked", None], ["b", "refused", None], ["c", "put_off", "de"], ["d", "liked", "de"]
    ]  # fmt: skip
    assert made["reasons"] == [
        'is_vip: "perhaps" is not true or false', 'locale: ["de"] is not text', 'waited: "long" is not a number',
    ]  # fmt: skip
    assert sorted(made["trained"]) == ["a", "b", "c", "d"]
    assert {"category", "locale", "is_vip"} < {*made["columns"]} and "waited" not in made["columns"]


def test_this_release_refuses_by_name_a_kind_that_it_does_not_know(raw: Path) -> None:
    build(raw, source(raw), [FIRST, SECOND], POLICY)
    reasons = Lake(raw / "lake").dataset(QUARANTINE).to_table()["reason"].to_pylist()
    assert reasons == ["kind: 'snoozed' is no kind of event"]
