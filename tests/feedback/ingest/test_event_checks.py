"""The checks keep events out of the lake that would break later stages."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, LABELS, QUARANTINE
from feedback.policy_changes.backfill_plan import plan_change
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source
from label_policy import load_policy, shipped_policies

DAY = date(2026, 3, 2)
AS_OF = datetime(2026, 3, 20, tzinfo=UTC)
Line = dict[str, Any]


@pytest.fixture
def bring(lake: Lake, tmp_path: Path) -> Callable[..., list[str]]:
    """`bring(*lines)`: ingest the lines, and return the quarantine reasons."""

    def run(*lines: Line, source: str = "canonical") -> list[str]:
        folder = tmp_path / "raw"
        folder.mkdir(exist_ok=True)
        (folder / f"{DAY}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        loaded = load_source(source)
        ingest(lake, loaded, discover(folder, loaded), [DAY], input_root=folder)
        return list(lake.dataset(QUARANTINE).to_table().column("reason").to_pylist())

    return run


def line(event_id: str, kind: str, **fields: object) -> Line:
    texts = {"prompt": [{"role": "user", "content": "when?"}], "completion": "Your refund takes 30 days."}
    return {
        "event_id": event_id, "kind": kind, "occurred_at": f"{DAY}T10:00:00Z", "ticket_id": "t1",
        **(texts if kind in ("draft_shown", "preference") else {}), **fields,
    }  # fmt: skip


def test_no_log_can_name_a_row_as_ours_are_named(lake: Lake, bring: Callable[..., list[str]]) -> None:
    sent = {"final_text": "Your refund takes 14 days.", "occurred_at": f"{DAY}T10:01:00Z"}
    reasons = bring(
        line("1", "draft_shown", draft_id="d1"),
        line("2", "edited", draft_id="d1", **sent),
        line("3", "draft_shown", draft_id="d1#sent"),
        line("4", "edited", draft_id="d1#sent", **sent),
        line("5", "draft_shown", draft_id="e1#preferred"),
        line("6", "thumbs_up", draft_id="#other"),
        # Valid: such a suffix has a meaning only in a draft's id, and events' ids get a suffix of their own.
        line("e1", "preference", final_text="worse"),
        line("e1#preferred", "preference", final_text="worse"),
        line("d1#sent", "preference", final_text="worse"),
        line("7", "draft_shown", draft_id="d2#sent later"),
    )
    assert reasons == [
        f"draft_id: '{draft}' ends in #{draft.split('#')[1]}, which is kept for rows derived from drafts"
        for draft in ("d1#sent", "d1#sent", "e1#preferred", "#other")
    ]
    policies = [load_policy(path) for path in (shipped_policies()[f"harbor-support.v{n}"] for n in (1, 2))]
    write_interactions(lake, [DAY], as_of=AS_OF)
    write_labels(lake, policies[1], [DAY], as_of=AS_OF)
    ids = lake.dataset(LABELS).to_table().column("draft_id").to_pylist()
    assert sorted(ids) == sorted(
        ["d1", "d1#sent", "d2#sent later"]
        + [f"{event}#{side}" for event in ("e1", "e1#preferred", "d1#sent") for side in ("preferred", "other")]
    )
    assert plan_change(lake, policies[0], as_of=AS_OF).changed


def test_extra_that_a_mapping_made_is_json_too(lake: Lake, bring: Callable[..., list[str]], tmp_path: Path) -> None:
    mapping = tmp_path / "mine.sql"
    mapping.write_text(
        "SELECT file, line, row ->> 'event_id' AS event_id, row ->> 'kind' AS kind, 't' AS ticket_id, 'd' AS draft_id,"
        " TIMESTAMP '2026-03-02 10:00:00' AS occurred_at, {'score': (row ->> 'n')::DOUBLE} AS extra FROM lines"
    )
    reasons = bring(
        *(line(n, "accepted", n=n) for n in ("1.5", "nan", "-inf")),
        source=str(mapping),
    )
    assert reasons == ["extra: holds NaN or Infinity, which JSON does not have"] * 2
    assert lake.dataset(EVENTS).to_table().column("extra").to_pylist() == ['{"score":1.5}']
