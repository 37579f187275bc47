"""The shipped mappings on the real logs that they were written for, compared with counts in plain Python."""

import gzip
import json
from collections import Counter, defaultdict
from functools import cache
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feedback.ingest.map_day import map_day
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source

REALDATA = Path(__file__).resolve().parents[4] / "shared" / "realdata"

pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason=f"no real logs beside the repository ({REALDATA.name})")


@cache
def mapped(name):
    root = REALDATA / name / "raw"
    source = load_source(name)
    days = groupby(discover(root, source), key=lambda file: file.arrival_date)
    results = [map_day(source, list(files), input_root=root) for _, files in days]
    events, books, quarantine = (
        pa.concat_tables(getattr(day, part) for day in results) for part in ("events", "books", "quarantine")
    )
    assert quarantine.num_rows == 0
    assert pc.count_distinct(events.column("event_id")).as_py() == events.num_rows
    return events, {name: books.column(name).to_pylist() for name in books.schema.names}


def kinds(events):
    return {row["values"]: row["counts"] for row in events.column("kind").value_counts().to_pylist()}


def raw(name):
    for path in sorted((REALDATA / name / "raw").iterdir()):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                yield json.loads(line)


def of_kind(events, *wanted):
    return events.filter(pc.is_in(events.column("kind"), pa.array(wanted))).to_pylist()


def test_star():
    events, books = mapped("star")
    assert kinds(events) == {"draft_shown": 118_053, "accepted": 37_892, "dismissed": 80_161}
    assert sum(books["lines"]) == 242_596
    assert sum(books["quarantined"]) == 0
    parts = sum((Counter(json.loads(text)) for text in books["parts_ignored"]), Counter())
    assert parts == {"option without text": 2_354}

    turns, expected = defaultdict(list), {}
    for row in raw("star"):
        conversation = turns[row["dialogue_id"]]
        if row["type"] == "drafts_shown":
            expected[row["event_id"]] = (list(conversation), [option["text"] for option in row["options"]])
        elif row["type"] == "customer_message":
            conversation.append({"role": "user", "content": row["text"]})
        elif row["type"] in ("draft_accepted", "agent_custom_reply"):
            conversation.append({"role": "assistant", "content": row["text"]})
    some = pc.starts_with(events.column("ticket_id"), "7")  # a share of the dialogues: prompts are slow in Python
    for event in of_kind(events.filter(some), "draft_shown"):
        _, shown, number = event["draft_id"].split("-")
        prompt, options = expected[int(shown)]
        assert event["prompt"] == prompt
        assert event["completion"] == options[int(number) - 1]
        assert event["prompt"]
        assert set(json.loads(event["extra"])) == {"slotfree"}


def test_star_decides_every_draft_once():
    events, _ = mapped("star")
    events = events.select(["kind", "draft_id", "completion", "final_text", "category"])
    shown = {e["draft_id"]: e["completion"] for e in of_kind(events, "draft_shown")}
    decided = of_kind(events, "accepted", "dismissed")
    assert {e["draft_id"] for e in decided} == set(shown)
    assert len(decided) == len(shown)
    assert all(e["final_text"] == shown[e["draft_id"]] for e in decided if e["kind"] == "accepted")
    categories = Counter(e["category"] for e in of_kind(events, "draft_shown"))
    assert len(categories) > 20


def test_taskmaster():
    events, books = mapped("taskmaster")
    thumbs = Counter((row["session"].split("-")[0], row["thumb"]) for row in raw("taskmaster"))
    assert kinds(events) == {
        "draft_shown": thumbs.total(),
        "thumbs_up": sum(n for (_, thumb), n in thumbs.items() if thumb == 1),
        "thumbs_down": sum(n for (_, thumb), n in thumbs.items() if thumb == 0),
    }
    reacted = of_kind(events, "thumbs_up", "thumbs_down")
    assert Counter((e["category"], int(e["kind"] == "thumbs_up")) for e in reacted) == thumbs
    assert books["lines"] == books["mapped"]

    by_id = {row["row_id"]: row for row in raw("taskmaster")}
    for event in of_kind(events, "draft_shown"):
        row = by_id[event["draft_id"]]
        assert [turn.get("text") for turn in row["context"] if "text" in turn] == [
            message["content"] for message, turn in zip(event["prompt"], row["context"], strict=True) if "text" in turn
        ]
        generation = row["generation"]
        if "text" in generation:
            assert event["completion"] == generation["text"]
        else:
            assert json.loads(event["completion"].removeprefix("CALL ")) == generation["api"]


def test_coauthor():
    events, books = mapped("coauthor")
    stories, texts, counts, queries = defaultdict(list), {}, Counter(), defaultdict(list)
    for row in raw("coauthor"):
        key = (row["session_id"], row.get("query_id"))
        match row["type"]:
            case "session_open":
                stories[row["session_id"]].append(row["text"])
            case "draft_shown":
                counts["draft_shown"] += 1
                queries[key].append(row["rank"])
                texts[*key, row["rank"]] = (row["text"], " ".join(stories[row["session_id"]]))
            case "draft_accepted":
                stories[row["session_id"]].append(row["text"])
                counts["accepted"] += 1
                counts["dismissed"] += len(queries[key]) - 1
            case "drafts_dismissed":
                counts["dismissed"] += len(queries[key])
            case "draft_final" if row["text"] == "":
                counts["rejected"] += 1
            case "draft_final" if row["text"] != texts[*key, row["rank"]][0]:
                counts["edited"] += 1
    assert kinds(events) == counts
    assert (counts["edited"], counts["rejected"]) == (1_514, 262)
    assert sum(books["lines"]) == 78_719
    for event in of_kind(events, "draft_shown"):
        _, session, query, rank = event["draft_id"].split("-")
        text, story = texts[session, int(query), int(rank)]
        assert event["completion"] == text
        assert event["prompt"] == [{"role": "user", "content": story}]
